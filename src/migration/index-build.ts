import type { Pool } from 'pg';
import type { Clock } from '../core/clock.ts';
import { withClient } from '../db/tx.ts';
import { type Blocker, blockersOf, sayBlockers } from './cutover/blockers.queries.ts';
import { sayWhile } from './long-statement.ts';
import { recordEvent } from './status.store.ts';

export interface BuildOptions {
  readonly clock: Clock;
  /** told how far the build is, and whom it waits for */
  readonly onWait?: ((reason: string) => Promise<void>) | undefined;
}

/**
 * Runs a CREATE INDEX CONCURRENTLY to its end. Its snapshot may grow old, so it is announced, with what it waits for:
 * transactions of others, which are named and left alone.
 * @throws whatever the statement throws
 */
export async function buildConcurrently(
  pool: Pool,
  migrationId: number,
  name: string,
  definition: string,
  { clock, onWait }: BuildOptions,
): Promise<void> {
  const message = `building index ${name}; its snapshot is as old as the build`;
  await recordEvent(pool, migrationId, 'index', { message, index: name, done: false });
  const began = clock.now();
  await withClient(pool, async (client) => {
    const { processID: pid } = client as unknown as { processID: number };
    await sayWhile(client.query(definition), clock, async () => {
      // the build goes on whether or not it can be looked at; its own error is the one that counts
      const reason = onWait && (await sayBuild(pool, pid, name).catch(() => null));
      if (reason) await onWait(reason);
    });
  });
  const seconds = Math.round((clock.now() - began) * 10) / 10;
  await recordEvent(pool, migrationId, 'index', {
    message: `index ${name} was built in ${seconds} s`,
    index: name,
    done: true,
    seconds,
  });
}

/** Where a build stands, in a sentence; null when it cannot be seen. */
async function sayBuild(pool: Pool, pid: number, name: string): Promise<string | null> {
  const { rows } = await pool.query<{
    phase: string;
    share: number | null;
    blockers: Blocker[];
  }>(
    `select x.phase, coalesce(x.blocks_done::float8 / nullif(x.blocks_total, 0), x.tuples_done::float8 / nullif(x.tuples_total, 0)) as share,
            (${blockersOf('array[x.current_locker_pid]::int[]')}) as blockers
       from pg_stat_progress_create_index x where x.pid = $1`,
    [pid],
  );
  const found = rows[0];
  if (!found) return null;
  const done = found.share === null ? '' : `, ${Math.round(100 * found.share)} %`;
  const whom = found.blockers.length ? `: ${sayBlockers(found.blockers)}` : '';
  return `building index ${name} (${found.phase}${done})${whom}`;
}
