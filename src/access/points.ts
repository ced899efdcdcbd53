import { as, columnNames, lastName, type Node, withoutCasts } from './ast.ts';
import type { Expression, ExpressionReader } from './expression.ts';

/** Some key columns equal a row of values: one row for each value in the slots; `array` means a text like `{1,2}`. */
export interface Binding {
  /** indexes into the key */
  readonly columns: readonly number[];
  readonly row: readonly Expression[];
  readonly array: boolean;
}

/** All of these hold: together they say the whole key or a part of it. */
export type Conjunction = readonly Binding[];

/** One of these holds. Null: the condition leaves the key open. */
export type Points = readonly Conjunction[] | null;

/** How a statement speaks of the columns of one table reference. */
export interface TableReference {
  readonly schema: string;
  /** the alias, or the table's name when there is none */
  readonly name: string;
  readonly aliased: boolean;
}

export interface PointReader {
  /** conditions that all hold → the keys they leave over */
  points(conditions: readonly Node[], reference: TableReference): Points;
  /** index of the key column that `node` is, or -1 */
  keyColumn(node: Node | undefined, reference: TableReference): number;
}

// casts of a column that change no value's identity, so that an equality beneath them still names one key
const losslessCasts = new Set(['int4', 'int8', 'text', 'varchar', 'uuid', 'numeric']);
// alternatives multiply under AND; real statements have a handful
const maxConjunctions = 2000;

export function createPointReader(key: readonly string[], readExpression: ExpressionReader): PointReader {
  const keyColumn = (node: Node | undefined, reference: TableReference): number => {
    const cast = as(node, 'TypeCast');
    if (cast)
      return losslessCasts.has(lastName(cast.typeName?.names) ?? '') ? keyColumn(cast.arg, reference) : -1;
    const names = columnNames(node);
    if (!names) return -1;
    const [column, table, schema] = names.toReversed();
    if (table !== undefined && table !== reference.name) return -1;
    if (schema !== undefined && (reference.aliased || schema !== reference.schema)) return -1;
    return key.indexOf(column as string);
  };

  const equality = (left: Node | undefined, right: Node | undefined, reference: TableReference): Points => {
    const row = as(left, 'RowExpr')?.args;
    const values = as(right, 'RowExpr')?.args;
    if (row && values && row.length === values.length) {
      return row.reduce<Points>((all, part, k) => both(all, equality(part, values[k], reference)), null);
    }
    for (const [side, otherSide] of [
      [left, right],
      [right, left],
    ]) {
      const column = keyColumn(side, reference);
      const value = column < 0 ? undefined : readExpression(otherSide);
      if (value) return [[{ columns: [column], row: [value], array: false }]];
    }
    return null;
  };

  /** `(a, b) in ((1, 2), …)` must stay one binding: the scan folded its rows into one, slot by slot */
  const oneOf = (left: Node | undefined, item: Node, reference: TableReference): Points => {
    const row = as(left, 'RowExpr')?.args;
    const values = as(item, 'RowExpr')?.args;
    if (!row || !values) return equality(left, item, reference);
    const columns: number[] = [];
    const expressions: Expression[] = [];
    row.forEach((part, k) => {
      const column = keyColumn(part, reference);
      const value = column < 0 ? undefined : readExpression(values[k]);
      if (value) {
        columns.push(column);
        expressions.push(value);
      }
    });
    return columns.length > 0 ? [[{ columns, row: expressions, array: false }]] : null;
  };

  const anyOf = (left: Node | undefined, right: Node | undefined, reference: TableReference): Points => {
    const list = as(withoutCasts(right), 'A_ArrayExpr');
    if (list) return either((list.elements ?? []).map((item) => oneOf(left, item, reference)));
    const column = keyColumn(left, reference);
    const value = column < 0 ? undefined : readExpression(right);
    return value ? [[{ columns: [column], row: [value], array: true }]] : null;
  };

  const condition = (node: Node, reference: TableReference): Points => {
    const logic = as(node, 'BoolExpr');
    if (logic) {
      const parts = (logic.args ?? []).map((part) => condition(part, reference));
      if (logic.boolop === 'AND_EXPR') return parts.reduce(both, null);
      return logic.boolop === 'OR_EXPR' ? either(parts) : null;
    }
    const operation = as(node, 'A_Expr');
    if (!operation || (operation.kind !== 'AEXPR_NOT_DISTINCT' && lastName(operation.name) !== '='))
      return null;
    switch (operation.kind) {
      case 'AEXPR_OP':
      case 'AEXPR_NOT_DISTINCT':
        return equality(operation.lexpr, operation.rexpr, reference);
      case 'AEXPR_IN':
        return either(
          (as(operation.rexpr, 'List')?.items ?? []).map((item) => oneOf(operation.lexpr, item, reference)),
        );
      case 'AEXPR_OP_ANY':
        return anyOf(operation.lexpr, operation.rexpr, reference);
      default:
        return null;
    }
  };

  return {
    keyColumn,
    points: (conditions, reference) => {
      const found = conditions.map((node) => condition(node, reference)).reduce(both, null);
      const whole = found?.every((parts) =>
        key.every((_, k) => parts.some((part) => part.columns.includes(k))),
      );
      return whole ? found : null;
    },
  };
}

function both(a: Points, b: Points): Points {
  if (a === null || b === null) return a ?? b;
  // dropping one side only widens the answer; a wider key set is then narrowed by nobody, so leave the key open
  if (a.length * b.length > maxConjunctions) return null;
  return a.flatMap((left) => b.map((right) => [...left, ...right]));
}

function either(parts: readonly Points[]): Points {
  if (parts.length === 0 || parts.some((part) => part === null)) return null;
  return (parts as (readonly Conjunction[])[]).flat();
}
