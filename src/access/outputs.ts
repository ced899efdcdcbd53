import type { SelectStmt } from 'libpg-query';
import { as, columnNames, type Node, nameOf, walk } from './ast.ts';

/** What a subselect's (or a view's) output columns are inside it: candidates for a name, as the inside would write them. */
export type Outputs = (column: string) => string[][];

/**
 * The outputs of a query into which a condition from outside may be moved without changing what it means, as the server
 * itself does; undefined where it may not: LIMIT, windows, DISTINCT ON, grouping sets, row locks.
 * @param renamed the names that the alias gives to the columns, if it does
 */
export function outputsOf(query: SelectStmt, renamed?: readonly Node[]): Outputs | undefined {
  if (query.limitCount ?? query.limitOffset ?? query.lockingClause ?? query.valuesLists) return undefined;
  if (query.windowClause || hasWindow(query.targetList)) return undefined;
  if (query.groupClause?.some((node) => as(node, 'GroupingSet'))) return undefined;
  // plain DISTINCT is a list of one empty node
  if (query.distinctClause?.some((node) => Object.keys(node).length > 0)) return undefined;
  const targets = (query.targetList ?? []).map((node) => as(node, 'ResTarget'));
  const names = targets.map((target) => target?.name ?? columnNames(target?.val)?.at(-1));
  if (renamed) {
    // only where every output is spelled out can its place be told
    if (targets.some((target) => star(target?.val))) return undefined;
    renamed.forEach((node, k) => {
      names[k] = nameOf(node);
    });
  }
  return (column) => {
    const place = names.indexOf(column);
    if (place >= 0 && !star(targets[place]?.val)) {
      const inner = columnNames(targets[place]?.val);
      return inner ? [inner] : [];
    }
    return targets.flatMap((target) => {
      const of = star(target?.val);
      return of ? [[...of, column]] : [];
    });
  };
}

/** For one arm of a set operation: the outputs are named by the first arm, and matched by place. */
export function outputsByPlace(arm: SelectStmt, names: readonly (string | undefined)[]): Outputs | undefined {
  const own = outputsOf(arm);
  const targets = (arm.targetList ?? []).map((node) => as(node, 'ResTarget')?.val);
  if (!own || targets.length !== names.length || targets.some((target) => star(target))) return undefined;
  return (column) => {
    const inner = columnNames(targets[names.indexOf(column)]);
    return inner ? [inner] : [];
  };
}

/** The output names of a query; undefined where they are not all spelled out. */
export function namesOf(query: SelectStmt): (string | undefined)[] | undefined {
  const targets = (query.targetList ?? []).map((node) => as(node, 'ResTarget'));
  if (targets.some((target) => star(target?.val))) return undefined;
  return targets.map((target) => target?.name ?? columnNames(target?.val)?.at(-1));
}

/** `*` is [], `t.*` is ['t']; undefined for everything else. */
function star(node: Node | undefined): string[] | undefined {
  const fields = as(node, 'ColumnRef')?.fields;
  if (!fields || !as(fields.at(-1), 'A_Star')) return undefined;
  return fields.slice(0, -1).map((field) => nameOf(field) ?? '');
}

function hasWindow(targets: readonly Node[] | undefined): boolean {
  let found = false;
  walk(targets, (kind, body) => {
    if (kind === 'FuncCall' && (body as { over?: unknown }).over) found = true;
    return kind === 'SelectStmt';
  });
  return found;
}
