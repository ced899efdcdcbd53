import type { Pool } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import { transaction } from '../db/tx.ts';
import { mappedKeyOf, sourceKeyOf } from './fragments.ts';

export interface Thinned {
  readonly removed: number;
  /** the last mapped key looked at; null: the end was reached */
  readonly next: readonly string[] | null;
}

/**
 * Takes away log rows of which a later one of the same key waits too, among the next `limit` rows in order of mapped key:
 * while nobody consumes the key log, it then holds no more than a row a key (two for a row inserted meanwhile, which is
 * what tells lanes that it is fresh). `next` of the answer is where to go on. What is left of a log row is only that a key
 * has changed, so nothing is lost, for two reasons:
 *
 * - Readers of the overlay. A snapshot that sees a row taken away was taken after this transaction committed, and the row
 *   that is kept committed before this statement's snapshot; so whoever misses the one sees the other, or sees the refresh
 *   that consumed it. Older snapshots still see both.
 * - Lanes. The row that is kept must be consumed by a refresh that sees every change whose row was taken away. A refresh
 *   that began before this statement might see the kept row's change and not the other's; taken away, that would be lost.
 *   So this transaction holds all lane rows, as a lane does: every refresh has either committed before this snapshot, or
 *   begins after the commit. (Keeping the latest by time is not enough: clocks may be set back.)
 *
 * @returns null when a lane is at work, and nothing was done
 */
export async function thinKeyLog(
  pool: Pool,
  plan: TablePlan,
  after: readonly string[] | null,
  limit: number,
): Promise<Thinned | null> {
  const m = mappedKeyOf(plan, 'l');
  const from = after
    ? `(${m}) >= (${plan.targetKey.map(({ type }, i) => `$${i + 2}::${type}`).join(', ')})`
    : 'true';
  // A key that f maps to NULL stops the migration: its rows are few, and stay (the index has them last).
  const mapped = plan.targetKey.map((_, i) => `l.m${i + 1} is not null`).join(' and ');
  const texts = plan.targetKey.map((_, i) => `r.m${i + 1}::text`).join(', ');
  const down = plan.targetKey.map((_, i) => `r.m${i + 1} desc`).join(', ');
  try {
    return await transaction(pool, async (client) => {
      await client.query(
        "set local lock_timeout = '200ms'; set local idle_in_transaction_session_timeout = '2s'",
      );
      await client.query(
        'select 1 from foreshadow.lane where migration_id = $1 order by lane for update nowait',
        [plan.migrationId],
      );
      const { rows } = await client.query<{ removed: number; seen: number; last: string[] | null }>(
        `with run as materialized (
           select l.ctid as id, ${sourceKeyOf(plan, 'l')}, ${m}, l.op, l.at from ${plan.names.keyLog} l
            where ${mapped} and ${from} order by ${m} limit $1),
         placed as (
           select r.id, row_number() over (partition by ${sourceKeyOf(plan, 'r')}, ${mappedKeyOf(plan, 'r')}, r.op = 'I'
                                           order by r.at desc, r.id desc) as place from run r),
         gone as (
           delete from ${plan.names.keyLog} l
            where l.ctid = any (array(select id from placed where place > 1)) returning 1)
         select (select count(*) from gone)::int as removed, (select count(*) from run)::int as seen,
                (select array[${texts}] from run r order by ${down} limit 1) as last`,
        [limit, ...(after ?? [])],
      );
      const { removed, seen, last } = rows[0] as (typeof rows)[0];
      return { removed, next: seen < limit ? null : last };
    });
  } catch (error) {
    if (codeOf(error) === sqlstate.lockNotAvailable) return null;
    throw error;
  }
}
