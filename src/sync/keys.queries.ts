import type { ClientBase } from 'pg';
import { ForeshadowError } from '../core/errors.ts';
import type { TablePlan } from '../core/plan.ts';
import { insertIntoTarget, ourKeyColumns, rowMap, sourceKey, sourceMatches } from './fragments.ts';

/** Key columns k1 …, m1 … of alias d as one array of texts, for {@link insertByKeys}. */
export function keyTexts(plan: TablePlan, alias: string): string {
  return `array[${ourKeyColumns(plan)
    .split(', ')
    .map((column) => `${alias}.${column}::text`)
    .join(', ')}]`;
}

/**
 * Inserts f(S) for keys that T does not have, in a snapshot of its own. Keys as {@link keyTexts} gave them.
 * @throws ForeshadowError MAP_FAILS on the way back, when a row would not be found again by its key
 */
export async function insertByKeys(
  client: ClientBase,
  plan: TablePlan,
  keys: readonly (readonly string[])[],
): Promise<number> {
  const columns = [...plan.sourceKey, ...plan.targetKey];
  const arrays = columns.map((column, i) => `$${i + 1}::text[]::${column.type}[]`);
  const found = `unnest(${arrays.join(', ')}) as d(${ourKeyColumns(plan)})
       join ${plan.names.source} s on ${sourceMatches(plan, 'd')}`;
  const values = columns.map((_, i) => keys.map((key) => key[i]));
  if (!plan.roundTrip) {
    const { rowCount } = await client.query(
      `${insertIntoTarget(plan)} select ${rowMap(plan)} from ${found}`,
      values,
    );
    return rowCount ?? 0;
  }
  const key = sourceKey(plan)
    .split(', ')
    .map((column) => `${column}::text`)
    .join(` || ',' || `);
  const { rows } = await client.query<{ inserted: number; stray: string[] }>(
    `with s as materialized (select s.* from ${found}),
     brought as (${insertIntoTarget(plan)} select ${rowMap(plan)} from s returning 1)
     select (select count(*) from brought)::int as inserted,
            array(select ${key} from s where (${plan.roundTrip}) is not true limit 10) as stray`,
    values,
  );
  const { inserted, stray } = rows[0] as (typeof rows)[0];
  if (stray.length)
    throw new ForeshadowError(
      'MAP_FAILS',
      `the back map gives rows of ${plan.names.source} another key, which maps elsewhere: ${stray.join('; ')}`,
      { keys: stray },
    );
  return inserted;
}
