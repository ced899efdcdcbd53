import type { InsertStmt } from 'libpg-query';
import { as } from './ast.ts';
import type { Expression, ExpressionReader } from './expression.ts';
import type { PlanTarget } from './plan.ts';
import type { Conjunction } from './points.ts';
import { type Reason, reasons } from './reason.ts';

/** The keys of the rows that an INSERT into our table gives, as far as its text gives them. */
export function insertPoints(
  insert: InsertStmt,
  target: PlanTarget,
  read: ExpressionReader,
): { points: Conjunction[]; reasons: Reason[] } {
  const source = as(insert.selectStmt, 'SelectStmt');
  if (!source) return { points: [], reasons: [reasons.generated] }; // DEFAULT VALUES
  if (!source.valuesLists) return { points: [], reasons: [reasons.insertSelect] };

  const columns = insert.cols?.map((node) => as(node, 'ResTarget')?.name) ?? target.columns;
  if (!columns) return { points: [], reasons: [reasons.noColumns] };
  const places = target.key.map((name) => columns.indexOf(name));

  const points: Conjunction[] = [];
  const open = new Set<Reason>();
  for (const node of source.valuesLists) {
    const values = as(node, 'List')?.items ?? [];
    const row: Expression[] = [];
    for (const place of places) {
      // a column that is not given gets its default
      const value = place < 0 ? undefined : values[place];
      const expression = read(value);
      if (expression) row.push(expression);
      else open.add(!value || as(value, 'SetToDefault') ? reasons.generated : reasons.computed);
    }
    if (row.length === places.length) points.push([{ columns: places.map((_, k) => k), row, array: false }]);
  }
  return { points, reasons: [...open] };
}
