import type { Pool } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import type { RangePosition } from './copy-order.ts';

/** How far the copy is in each range, in key order. For tables with one numeric key column; some hundred rows at most. */
export async function rangePositions(
  pool: Pool,
  plan: TablePlan,
): Promise<{ at: number; ranges: RangePosition[] }> {
  const { rows } = await pool.query<RangePosition & { at: number }>(
    `select lo_k1::float8 as low, hi_k1::float8 as high, cur_k1::float8 as cursor, done, copied::float8 as copied,
            extract(epoch from clock_timestamp())::float8 as at
       from ${plan.names.range} order by range_id`,
  );
  return { at: rows[0]?.at ?? 0, ranges: rows.map(({ at: _, ...range }) => range) };
}
