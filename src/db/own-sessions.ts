import type { Pool, PoolClient } from 'pg';
import { ForeshadowError } from '../core/errors.ts';

interface Answer {
  readonly pid: number;
  readonly ours: boolean;
}

/**
 * Lanes, leases and cutovers rely on sessions: their settings, their locks, LISTEN, prepared statements, and being the
 * one backend that is ended when they are taken over. A pooler that hands a backend on after each transaction takes all
 * of that away, silently. So two connections are asked in turns which backend serves them: each must always have the
 * same one, and never the other's. A pooler that reuses the backend used last gives both the same; one that goes round
 * gives somebody another one, whatever the number of its backends.
 * @throws ForeshadowError POOLED_CONNECTION, before anything is done
 */
export async function requireOwnSessions(pool: Pool): Promise<void> {
  const clients: PoolClient[] = [];
  try {
    const a = await pool.connect();
    clients.push(a);
    const b = await pool.connect();
    clients.push(b);
    const own = new Map<PoolClient, number>();
    for (const client of [a, b, b, a, a, b]) {
      const { pid, ours } = await ask(client);
      if (!ours) throw pooled('session settings that we connect with do not reach the server');
      const known = own.get(client);
      const taken = [...own].some(([other, theirs]) => other !== client && theirs === pid);
      if (taken || (known !== undefined && known !== pid))
        throw pooled('a session is served by different backends from one transaction to the next');
      own.set(client, pid);
    }
  } finally {
    for (const client of clients) client.release();
  }
}

async function ask(client: PoolClient): Promise<Answer> {
  const { rows } = await client.query<Answer>(
    `select pg_catalog.pg_backend_pid() as pid,
            current_setting('search_path') = 'pg_catalog' and current_setting('row_security') = 'off'
              and current_setting('default_transaction_isolation') = 'read committed' as ours`,
  );
  return rows[0] as Answer;
}

const pooled = (how: string) =>
  new ForeshadowError('POOLED_CONNECTION', `DATABASE_URL leads through a connection pooler: ${how}`);
