import type { Pool } from 'pg';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import { vacuumKeyLogSql } from '../sync/tables.ts';
import { thinKeyLog } from '../sync/thin.queries.ts';
import { type Migration, recordEvent } from './status.store.ts';

/** Log rows looked at in one statement: a fraction of a second. */
const thinRows = 20_000;
/** Below this many log rows there is nothing to gain. */
const thinFrom = 20_000;
/** What was thinned is left alone until this much has come on top. */
const growth = 2;

/** Rows that were left in the key log when it was last thinned here, by migration. */
const left = new Map<number, number>();

/**
 * While a migration rests (PAUSED, FAILED) nobody consumes its key log, and capture goes on: it is kept to a row a key, so
 * that days of pause cost no more than the keys that changed. Nothing else of a resting migration grows: lanes hold no
 * locks and no snapshots, and write no WAL.
 * @param from log rows from which on it is worth while
 * @returns log rows taken away
 */
export async function tend(pool: Pool, migration: Migration, from = thinFrom): Promise<number> {
  const { id, plan, physical, write_to: writeTo } = migration;
  if (!physical || writeTo !== 'source') return 0;
  try {
    const most = Math.max(from, growth * (left.get(id) ?? 0));
    if ((await atLeast(pool, plan.names.keyLog, most)) < most) return 0;
    let removed = 0;
    let next: readonly string[] | null = null;
    do {
      const run: Awaited<ReturnType<typeof thinKeyLog>> = await thinKeyLog(pool, plan, next, thinRows);
      if (!run) return removed; // somebody is at work on it after all
      removed += run.removed;
      next = run.next;
    } while (next);
    await pool.query(vacuumKeyLogSql(plan));
    const rows = await atLeast(pool, plan.names.keyLog, Number.MAX_SAFE_INTEGER);
    left.set(id, rows);
    if (removed)
      await recordEvent(pool, id, 'thinned', {
        message: `the key log was thinned to a row a key while the migration rests: ${removed} rows went, ${rows} keys wait`,
        removed,
        rows,
      });
    return removed;
  } catch (error) {
    if (codeOf(error) === sqlstate.undefinedTable) return 0; // aborted meanwhile
    throw error;
  }
}

async function atLeast(pool: Pool, keyLog: string, most: number): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    `select count(*)::float8 as n from (select 1 from ${keyLog} limit $1) l`,
    [most],
  );
  return rows[0]?.n ?? 0;
}

/** All migrations that rest, of this database. */
export async function tendAll(pool: Pool): Promise<void> {
  const { rows } = await pool.query<Migration>(
    `select * from foreshadow.migration_status where status in ('PAUSED', 'FAILED') and physical is not null`,
  );
  for (const migration of rows) await tend(pool, migration);
}
