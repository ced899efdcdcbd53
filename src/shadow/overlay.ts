import type { TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import { mappedMatches, rowMapAsRow, rowsMatch, targetMatches } from '../sync/fragments.ts';

/** f(S) with every column of the target in table order, generated ones computed from the mapped row. */
export function mappedRowsSql(plan: TablePlan, where: string): string {
  const rows = `select ${rowMapAsRow(plan)} from ${plan.names.source} s where ${where}`;
  if (!plan.generated.length) return rows;
  const columns = plan.targetOrder.map((name) => {
    const generated = plan.generated.find((column) => column.name === name);
    return generated ? `(${generated.expression}) as ${ident(name)}` : ident(name);
  });
  return `select ${columns.join(', ')} from (${rows}) t`;
}

/**
 * The view that equals f(S) in every snapshot. A change and its key-log row become visible together, so a key with a
 * log row is read from S, any other key from T if T has it, else from S: three disjoint branches.
 *
 * Everything joins on the mapped key expression, which is what a lookup by the target's key becomes when it is pushed
 * into a branch. The gate closes the S branches with the swap, in the same transaction.
 */
export function overlaySql(plan: TablePlan): string {
  const { target, keyLog, overlay, overlayGate } = plan.names;
  const columns = plan.targetOrder.map((name) => `t.${ident(name)}`).join(', ');
  const gate = `not exists (select 1 from ${overlayGate})`;
  const inLog = (match: string) => `exists (select 1 from ${keyLog} l where ${match})`;
  const dirty = inLog(mappedMatches(plan, 'l'));
  const inTarget = `exists (select 1 from ${target} t where ${rowsMatch(plan)})`;
  return `create view ${overlay} as
    select ${columns} from ${target} t where not ${inLog(targetMatches(plan, 'l'))}
    union all
    ${mappedRowsSql(plan, `${dirty} and ${gate}`)}
    union all
    ${mappedRowsSql(plan, `not ${dirty} and not ${inTarget} and ${gate}`)}`;
}
