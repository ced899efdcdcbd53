import type { Pool } from 'pg';
import type { Clock } from '../core/clock.ts';
import type { TablePlan } from '../core/plan.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import { compareSource, comparing } from '../migration/verify.queries.ts';
import { lastKeyOf } from '../sync/chunk.queries.ts';
import { aCopiedStretch } from '../sync/lane.queries.ts';

/** Rows of the first run. Later ones take so long, in seconds: enough to tell how fast it goes, too little to be felt. */
const firstRows = 1000;
const takes = 0.02;
const mostRows = 5000;
/** Where a map is dear, a guess must do. */
const timeout = '300ms';

/**
 * Rows a second that the comparison of all rows would do now, by a run of rows that are copied already. What it finds is
 * left to that comparison.
 * @param known what earlier runs said
 * @returns the best of what they said and of what this one says, which others may have slowed down; null where neither is
 *   known: before rows are copied, and where it would take too long
 */
export async function compareSpeed(
  pool: Pool,
  plan: TablePlan,
  clock: Clock,
  known: number | null,
): Promise<number | null> {
  const rows = known === null ? firstRows : Math.max(1, Math.min(mostRows, Math.round(known * takes)));
  try {
    return await comparing(pool, async (client) => {
      await client.query(`set local statement_timeout = '${timeout}'`);
      const copied = await aCopiedStretch(client, plan);
      if (!copied) return known;
      const high = (await lastKeyOf(client, plan, copied, rows)) ?? copied.high;
      const began = clock.now();
      const { compared } = await compareSource(client, plan, { low: copied.low, high });
      const seconds = clock.now() - began;
      return seconds > 0 && compared >= rows / 2 ? Math.max(compared / seconds, known ?? 0) : known;
    });
  } catch (error) {
    if (codeOf(error) !== sqlstate.queryCanceled) throw error;
    return known;
  }
}
