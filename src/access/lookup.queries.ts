import type { Pool } from 'pg';
import { type KeyId, keyId } from '../core/key.ts';
import type { KeyColumn, TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import { transaction } from '../db/tx.ts';
import { sourceName } from './groups.queries.ts';

/** What a lookup may take, at most; index lookups of a thousand values take some ten milliseconds. */
const timeout = '1s';

/**
 * The keys of the rows that have each of these values in a column, by its index: one statement.
 * @param most rows for one value; a value with more has one more than that in the answer
 * @returns parallel to `values`; null when the source is gone
 */
export async function keysByValue(
  pool: Pool,
  plan: TablePlan,
  column: KeyColumn,
  values: readonly string[],
  most: number,
): Promise<KeyId[][] | null> {
  const source = await sourceName(pool, plan);
  if (source === null) return null;
  const key = plan.sourceKey.map((part) => `s.${ident(part.name)}::text`).join(', ');
  return transaction(pool, async (client) => {
    await client.query(`set local statement_timeout = '${timeout}'`);
    // a plan that scans the table would be the wrong one, whatever the statistics say
    await client.query('set local enable_seqscan = off');
    const { rows } = await client.query<{ n: number; key: string[] }>(
      `select w.n::int as n, k.key
         from unnest($1::text[]) with ordinality w(value, n)
        cross join lateral (select array[${key}] as key from ${source} s
                             where s.${ident(column.name)} = w.value::${column.type} limit $2) k`,
      [values, most + 1],
    );
    const found: KeyId[][] = values.map(() => []);
    for (const row of rows) found[row.n - 1]?.push(keyId(row.key));
    return found;
  });
}
