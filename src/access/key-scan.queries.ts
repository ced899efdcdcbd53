import type { Pool } from 'pg';
import { type KeyId, keyId } from '../core/key.ts';
import type { TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import { sourceName } from './groups.queries.ts';

const pagesAtOnce = 2048;

/**
 * Every key of the source, a piece of 16 MB of the table at a time, each by a statement of its own: no snapshot is held
 * for long. A row that moves meanwhile may come twice or not at all.
 */
export async function* keysOfSource(pool: Pool, plan: TablePlan): AsyncGenerator<KeyId[], void, undefined> {
  const name = await sourceName(pool, plan);
  if (name === null) return;
  const key = plan.sourceKey.map((column) => `s.${ident(column.name)}::text`).join(', ');
  const { rows } = await pool.query<{ pages: number }>(
    "select (pg_relation_size($1::oid) / current_setting('block_size')::int)::float8 as pages",
    [plan.sourceOid],
  );
  for (let first = 0; first < (rows[0]?.pages ?? 0); first += pagesAtOnce) {
    const found = await pool.query<{ key: string[] }>(
      `select array[${key}] as key from ${name} s where s.ctid >= $1::tid and s.ctid < $2::tid`,
      [`(${first},0)`, `(${first + pagesAtOnce},0)`],
    );
    yield found.rows.map((row) => keyId(row.key));
  }
}
