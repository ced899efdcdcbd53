import type { InsertStmt } from 'libpg-query';
import { as } from './ast.ts';
import type { ConstantReader } from './constants.ts';
import type { Expression, ExpressionReader } from './expression.ts';
import type { PlanTarget } from './plan.ts';
import type { Conjunction } from './points.ts';
import { type Reason, reasons } from './reason.ts';

/** The keys of the rows that an INSERT into our table gives, as far as its text gives them. */
export function insertPoints(
  insert: InsertStmt,
  target: PlanTarget,
  read: ExpressionReader,
  constants: ConstantReader,
): { points: Conjunction[]; reasons: Reason[] } {
  const source = as(insert.selectStmt, 'SelectStmt');
  if (!source) return { points: [], reasons: [reasons.generated] }; // DEFAULT VALUES
  const columns = insert.cols?.map((node) => as(node, 'ResTarget')?.name) ?? target.columns;
  const places = target.key.map((name) => columns?.indexOf(name) ?? -1);
  if (!source.valuesLists) {
    // `insert … select … from unnest($1, $2)` gives its rows, as VALUES does
    const held = constants(insert.selectStmt, '');
    if (!held) return { points: [], reasons: [reasons.insertSelect] };
    if (!columns) return { points: [], reasons: [reasons.noColumns] };
    const rows = held.rows.map((row) => places.map((place) => (place < 0 ? undefined : row[place])));
    const whole = rows.filter((row): row is Expression[] => row.every((value) => value !== undefined));
    const points = whole.map((row): Conjunction => {
      const binding = { columns: places.map((_, k) => k), row, array: held.array };
      return { bindings: [binding], bounds: [] };
    });
    const reason = places.some((place) => place < 0) ? reasons.generated : reasons.computed;
    return { points, reasons: whole.length < rows.length ? [reason] : [] };
  }
  if (!columns) return { points: [], reasons: [reasons.noColumns] };

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
    if (row.length === places.length)
      points.push({ bindings: [{ columns: places.map((_, k) => k), row, array: false }], bounds: [] });
  }
  return { points, reasons: [...open] };
}
