import type { SelectStmt } from 'libpg-query';
import { as, lastName, type Node, nameOf } from './ast.ts';
import type { Expression, ExpressionReader } from './expression.ts';

/**
 * A derived table whose rows stand in the statement itself: `(values (1, 'a'), …) v(id, note)`, `unnest($1, $2) u(a, b)`,
 * `(select $1 as id) s`. Bulk updates, upserts and MERGE are written with them.
 */
export interface ConstantRelation {
  /** what the statement calls it */
  readonly name: string;
  readonly columns: readonly string[];
  /** per row, per column; undefined where the value is computed. One row stands for all that the scan folded into it. */
  readonly rows: readonly (readonly (Expression | undefined)[])[];
  /** the values are arrays, and the rows their elements, side by side */
  readonly array: boolean;
}

/** Reads a FROM item or a subselect; undefined when its rows come from elsewhere. */
export type ConstantReader = (node: Node | undefined, name: string) => ConstantRelation | undefined;

export function createConstantReader(read: ExpressionReader): ConstantReader {
  const select = (body: SelectStmt, name: string): ConstantRelation | undefined => {
    const { valuesLists, targetList, op } = body;
    const filtered = body.whereClause ?? body.limitCount ?? body.limitOffset ?? body.groupClause;
    if (filtered !== undefined || (op !== undefined && op !== 'SETOP_NONE')) return undefined;
    if (valuesLists) {
      const rows = valuesLists.map((list) => (as(list, 'List')?.items ?? []).map((item) => read(item)));
      const columns = (rows[0] ?? []).map((_, k) => `column${k + 1}`);
      return { name, columns, rows, array: false };
    }
    const targets = (targetList ?? []).map((node) => as(node, 'ResTarget'));
    const [from, ...more] = body.fromClause ?? [];
    if (from) {
      // `select * from unnest(…)`, `select x from (values …) v(x)`: the inner relation under other names
      const inner = more.length === 0 ? relation(from) : undefined;
      if (!inner) return undefined;
      const places = targets.flatMap((target) => {
        const fields = as(target?.val, 'ColumnRef')?.fields ?? [];
        if (as(fields.at(-1), 'A_Star')) return inner.columns.map((column, k) => ({ column, k }));
        const column = nameOf(fields.at(-1)) ?? '';
        return [{ column: target?.name ?? column, k: inner.columns.indexOf(column) }];
      });
      const rows = inner.rows.map((row) => places.map(({ k }) => row[k]));
      return { name, columns: places.map(({ column }) => column), rows, array: inner.array };
    }
    const unnested = targets.length === 1 ? unnest(targets[0]?.val) : undefined;
    if (unnested?.length === 1)
      return { name, columns: [targets[0]?.name ?? 'unnest'], rows: [unnested], array: true };
    const columns = targets.map((target) => target?.name ?? '?column?');
    return targets.length > 0
      ? { name, columns, rows: [targets.map((target) => read(target?.val))], array: false }
      : undefined;
  };

  const unnest = (node: Node | undefined): (Expression | undefined)[] | undefined => {
    const call = as(node, 'FuncCall');
    return call && lastName(call.funcname) === 'unnest' && !call.over
      ? (call.args ?? []).map((arg) => read(arg))
      : undefined;
  };

  const relation = (item: Node): ConstantRelation | undefined => {
    const derived = as(item, 'RangeSubselect');
    if (derived) {
      const found = constants(derived.subquery, derived.alias?.aliasname ?? '');
      return found && renamed(found, derived.alias?.colnames);
    }
    const table = as(item, 'RangeFunction');
    if (!table || (table.functions?.length ?? 0) !== 1 || table.ordinality) return undefined;
    const call = as(table.functions?.[0], 'List')?.items?.[0];
    const arrays = unnest(call);
    if (!arrays) return undefined;
    const name = table.alias?.aliasname ?? 'unnest';
    // a function with one column gives it the name of its alias
    const columns = arrays.map(() => (arrays.length === 1 ? name : 'unnest'));
    return renamed({ name, columns, rows: [arrays], array: true }, table.alias?.colnames);
  };

  const constants: ConstantReader = (node, name) => {
    const body = as(node, 'SelectStmt');
    return body ? select(body, name) : node && relation(node);
  };
  return constants;
}

export function renamed(relation: ConstantRelation, names: readonly Node[] | undefined): ConstantRelation {
  if (!names) return relation;
  return { ...relation, columns: relation.columns.map((column, k) => nameOf(names[k]) ?? column) };
}
