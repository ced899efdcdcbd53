import type { ClientBase } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { insertIntoTarget, ourKeyColumns, rowMap, sourceMatches } from './fragments.ts';

/** Key columns k1 …, m1 … of alias d as one array of texts, for {@link insertByKeys}. */
export function keyTexts(plan: TablePlan, alias: string): string {
  return `array[${ourKeyColumns(plan)
    .split(', ')
    .map((column) => `${alias}.${column}::text`)
    .join(', ')}]`;
}

/** Inserts f(S) for keys that T does not have, in a snapshot of its own. Keys as {@link keyTexts} gave them. */
export async function insertByKeys(
  client: ClientBase,
  plan: TablePlan,
  keys: readonly (readonly string[])[],
): Promise<number> {
  const columns = [...plan.sourceKey, ...plan.targetKey];
  const arrays = columns.map((column, i) => `$${i + 1}::text[]::${column.type}[]`);
  const { rowCount } = await client.query(
    `${insertIntoTarget(plan)}
     select ${rowMap(plan)} from unnest(${arrays.join(', ')}) as d(${ourKeyColumns(plan)})
       join ${plan.names.source} s on ${sourceMatches(plan, 'd')}`,
    columns.map((_, i) => keys.map((key) => key[i])),
  );
  return rowCount ?? 0;
}
