import type { Pool } from 'pg';
import type { Access } from '../core/access.ts';
import { keyId } from '../core/key.ts';
import type { TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';

/**
 * Change evidence that the table itself carries: a W for each row whose `createdAt` or `updatedAt` lies in
 * [since, until), seconds since the epoch, latest first up to `limit`, returned in time order. A row shows its last
 * change only, so this tells of the time before the query log and capture began, and no more.
 */
export async function changeTimes(
  pool: Pool,
  plan: TablePlan,
  columns: readonly string[],
  since: number,
  until: number,
  limit: number,
): Promise<Access[]> {
  const found: Access[] = [];
  const key = plan.sourceKey.map((column) => `s.${ident(column.name)}::text`).join(', ');
  for (const name of columns) {
    const column = `s.${ident(name)}`;
    const { rows } = await pool.query<{ key: string[]; at: number }>(
      `select array[${key}] as key, extract(epoch from ${column})::float8 as at from ${plan.names.source} s
        where ${column} >= to_timestamp($1) and ${column} < to_timestamp($2) order by ${column} desc limit $3`,
      [since, until, limit],
    );
    for (const row of rows) found.push({ key: keyId(row.key), op: 'W', at: row.at });
  }
  return found.sort((a, b) => a.at - b.at);
}
