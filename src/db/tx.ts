import type { ClientBase, Pool, PoolClient } from 'pg';

/** Written out in every transaction: an operator's default of REPEATABLE READ once made a lane resurrect rows. */
const begin = {
  'read committed': 'begin isolation level read committed read write',
  snapshot: 'begin isolation level repeatable read read only',
} as const;
export type Isolation = keyof typeof begin;

/** Runs `body` in one transaction on this connection; rolls back and rethrows when it throws. */
export async function inTransaction<T>(
  client: ClientBase,
  isolation: Isolation,
  body: () => Promise<T>,
): Promise<T> {
  await client.query(begin[isolation]);
  let result: T;
  try {
    result = await body();
  } catch (error) {
    // The connection may be what failed; then the server rolls back by itself.
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
  await client.query('commit');
  return result;
}

/** A connection from the pool for the time of `body`; one that met an error is closed, not given back. */
export async function withClient<T>(pool: Pool, body: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let failure: Error | undefined;
  try {
    return await body(client);
  } catch (error) {
    failure = error as Error;
    throw error;
  } finally {
    client.release(failure);
  }
}

/** {@link withClient} and {@link inTransaction} together. */
export function transaction<T>(
  pool: Pool,
  body: (client: PoolClient) => Promise<T>,
  isolation: Isolation = 'read committed',
): Promise<T> {
  return withClient(pool, (client) => inTransaction(client, isolation, () => body(client)));
}
