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

/**
 * Steps that need nothing of one another's answers, in one round trip on a session of ours ({@link openClient}); the server
 * runs them in this order, each with a snapshot of its own. Elsewhere one after the other. In a transaction all that
 * follows a failed statement fails too, and the first error is the one that is thrown.
 */
export async function together<T extends readonly unknown[]>(
  client: ClientBase,
  steps: readonly [...{ [K in keyof T]: () => Promise<T[K]> }],
): Promise<T> {
  if ((client as { pipeline?: boolean }).pipeline) {
    const sent: Promise<unknown>[] = [];
    try {
      for (const step of steps) sent.push(step());
    } catch (error) {
      await Promise.allSettled(sent);
      throw error; // of a step that was not even sent: nor are those after it
    }
    return Promise.all(sent) as unknown as Promise<T>;
  }
  const results: unknown[] = [];
  for (const step of steps) results.push(await step());
  return results as unknown as T;
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
