import { as, columnNames, lastName, type Node, withoutCasts } from './ast.ts';
import { type ConstantRelation, createConstantReader } from './constants.ts';
import type { Expression, ExpressionReader } from './expression.ts';
import { isIntegerType, isTextType } from './types.ts';

/**
 * Some key columns equal a row of values: one row for each value in the slots. `array` means texts like `{1,2}`, one for
 * each column, read side by side as `unnest(a, b)` does.
 */
export interface Binding {
  /** indexes into the key */
  readonly columns: readonly number[];
  readonly row: readonly Expression[];
  readonly array: boolean;
  /** the column is compared as text: '05' is not 5 */
  readonly asText?: boolean;
}

/** A key column lies on one side of a value. */
export interface Bound {
  readonly column: number;
  readonly operator: '<' | '<=' | '>' | '>=';
  readonly value: Expression;
}

/** All of these hold: together they say the whole key or a part of it. */
export interface Conjunction {
  readonly bindings: readonly Binding[];
  readonly bounds: readonly Bound[];
}

/** One of these holds. Null: the condition leaves the key open. */
export type Points = readonly Conjunction[] | null;

/** Conditions that all hold, and what they call the key's columns. */
export interface Scope {
  readonly conditions: readonly Node[];
  /** index of the key column that a (qualified) name stands for, or -1 */
  keyColumn(names: readonly string[]): number;
  /** derived tables next to ours that hold nothing but constants */
  readonly constants: readonly ConstantRelation[];
}

export interface KeyOfTarget {
  readonly name: string;
  readonly type: string;
}

export interface PointReader {
  /** what the conditions of all scopes together leave over */
  points(scopes: readonly Scope[]): Points;
  /** index of the key column that `node` is, or -1 */
  keyColumn(node: Node | undefined, scope: Scope): number;
  /** the scope, which also knows the columns that its own conditions set equal to a key column */
  widened(scope: Scope): Scope;
}

// alternatives multiply under AND; real statements have a handful
const maxConjunctions = 2000;
const mirrored = { '<': '>', '<=': '>=', '>': '<', '>=': '<=' } as const;

export function createPointReader(key: readonly KeyOfTarget[], read: ExpressionReader): PointReader {
  const constantsOf = createConstantReader(read);
  const point = (columns: number[], row: Expression[], array: boolean, asText = false): Conjunction => ({
    bindings: [{ columns, row, array, ...(asText && { asText }) }],
    bounds: [],
  });

  /** The key column under casts that change no value's identity, so that an equality beneath them names one key. */
  const column = (node: Node | undefined, scope: Scope): { index: number; asText: boolean } => {
    const none = { index: -1, asText: false };
    const cast = as(node, 'TypeCast');
    if (!cast) {
      const names = columnNames(node);
      return names ? { index: scope.keyColumn(names), asText: false } : none;
    }
    const inner = column(cast.arg, scope);
    const type = key[inner.index]?.type;
    const to = lastName(cast.typeName?.names) ?? '';
    if (type === undefined || cast.typeName?.typmods || cast.typeName?.arrayBounds) return none;
    if (to === 'text' || to === 'varchar')
      return isIntegerType(type) || isTextType(type) || type === 'uuid' ? { ...inner, asText: true } : none;
    if (to === 'int4' || to === 'int8' || to === 'numeric') return isIntegerType(type) ? inner : none;
    return to === type ? inner : none;
  };

  const equality = (left: Node | undefined, right: Node | undefined, scope: Scope): Points => {
    const row = as(left, 'RowExpr')?.args;
    const values = as(right, 'RowExpr')?.args;
    if (row && values && row.length === values.length) {
      return row.reduce<Points>((all, part, k) => both(all, equality(part, values[k], scope)), null);
    }
    for (const [side, otherSide] of [
      [left, right],
      [right, left],
    ]) {
      const { index, asText } = column(side, scope);
      const value = index < 0 ? undefined : read(otherSide);
      if (value) return [point([index], [value], false, asText)];
    }
    return null;
  };

  /** `(a, b) in ((1, 2), …)` must stay one binding: the scan folded its rows into one, slot by slot */
  const oneOf = (left: Node | undefined, item: Node, scope: Scope): Points => {
    const row = as(left, 'RowExpr')?.args;
    const values = as(item, 'RowExpr')?.args;
    if (!row || !values) return equality(left, item, scope);
    const columns: number[] = [];
    const expressions: Expression[] = [];
    row.forEach((part, k) => {
      const { index, asText } = column(part, scope);
      const value = index < 0 || asText ? undefined : read(values[k]);
      if (value) {
        columns.push(index);
        expressions.push(value);
      }
    });
    return columns.length > 0 ? [point(columns, expressions, false)] : null;
  };

  const anyOf = (left: Node | undefined, right: Node | undefined, scope: Scope): Points => {
    const list = as(withoutCasts(right), 'A_ArrayExpr');
    if (list) return either((list.elements ?? []).map((item) => oneOf(left, item, scope)));
    const { index, asText } = column(left, scope);
    const value = index < 0 ? undefined : read(right);
    return value ? [point([index], [value], true, asText)] : null;
  };

  /** `id in (values (1), (2))`, `id in (select unnest($1))` */
  const inConstants = (left: Node | undefined, subselect: Node | undefined, scope: Scope): Points => {
    const relation = constantsOf(subselect, 'x');
    if (!relation) return null;
    const parts = as(left, 'RowExpr')?.args ?? [left];
    return rowsOf(
      relation,
      parts.map((part) => {
        const { index, asText } = column(part, scope);
        return asText ? -1 : index;
      }),
    );
  };

  /** @param keys for each column of the relation the key column that equals it, or -1 */
  const rowsOf = (relation: ConstantRelation, keys: readonly number[]): Points => {
    if (keys.every((index) => index < 0)) return null;
    return either(
      relation.rows.map((row) => {
        const columns: number[] = [];
        const values: Expression[] = [];
        keys.forEach((index, k) => {
          const value = index < 0 || columns.includes(index) ? undefined : row[k];
          if (!value) return;
          columns.push(index);
          values.push(value);
        });
        return columns.length > 0 ? [point(columns, values, relation.array)] : null;
      }),
    );
  };

  const range = (
    left: Node | undefined,
    operator: Bound['operator'],
    right: Node | undefined,
    scope: Scope,
  ): Points => {
    for (const [side, otherSide, as] of [
      [left, right, operator],
      [right, left, mirrored[operator]],
    ] as const) {
      const { index, asText } = column(side, scope);
      const value = index < 0 || asText || !isIntegerType(key[index]!.type) ? undefined : read(otherSide);
      if (value) return [{ bindings: [], bounds: [{ column: index, operator: as, value }] }];
    }
    return null;
  };

  const condition = (node: Node, scope: Scope): Points => {
    const logic = as(node, 'BoolExpr');
    if (logic) {
      const parts = (logic.args ?? []).map((part) => condition(part, scope));
      if (logic.boolop === 'AND_EXPR') return parts.reduce(both, null);
      return logic.boolop === 'OR_EXPR' ? either(parts) : null;
    }
    const sublink = as(node, 'SubLink');
    if (sublink) {
      const isEqual = sublink.operName === undefined || lastName(sublink.operName) === '=';
      return sublink.subLinkType === 'ANY_SUBLINK' && isEqual
        ? inConstants(sublink.testexpr, sublink.subselect, scope)
        : null;
    }
    const operation = as(node, 'A_Expr');
    if (!operation) return null;
    const operator = lastName(operation.name) ?? '';
    const { lexpr, rexpr } = operation;
    switch (operation.kind) {
      case 'AEXPR_NOT_DISTINCT':
        return equality(lexpr, rexpr, scope);
      case 'AEXPR_OP':
        if (operator === '=') return equality(lexpr, rexpr, scope);
        return operator in mirrored ? range(lexpr, operator as Bound['operator'], rexpr, scope) : null;
      case 'AEXPR_BETWEEN': {
        const [low, high] = as(rexpr, 'List')?.items ?? [];
        return both(range(lexpr, '>=', low, scope), range(lexpr, '<=', high, scope));
      }
      case 'AEXPR_IN':
        if (operator !== '=') return null;
        return either((as(rexpr, 'List')?.items ?? []).map((item) => oneOf(lexpr, item, scope)));
      case 'AEXPR_OP_ANY':
        return operator === '=' ? anyOf(lexpr, rexpr, scope) : null;
      default:
        return null;
    }
  };

  const widened = (scope: Scope): Scope => {
    const pairs = scope.conditions.flatMap(conjuncts).flatMap(equalColumns);
    if (pairs.length === 0) return scope;
    const equal = new Map<string, number>();
    const known = (names: readonly string[]) => {
      const index = scope.keyColumn(names);
      return index >= 0 ? index : (equal.get(names.join('\0')) ?? -1);
    };
    for (let before = -1; before !== equal.size; ) {
      before = equal.size;
      for (const [a, b] of pairs) {
        if (known(a) >= 0 && known(b) < 0) equal.set(b.join('\0'), known(a));
        else if (known(b) >= 0 && known(a) < 0) equal.set(a.join('\0'), known(b));
      }
    }
    return { ...scope, keyColumn: known };
  };

  const pointsOf = (given: Scope): Points => {
    const scope = widened(given);
    const found = scope.conditions.map((node) => condition(node, scope));
    for (const relation of scope.constants) {
      const keys = relation.columns.map((name) => {
        const qualified = scope.keyColumn([relation.name, name]);
        // a bare name that is the table's own column is not the relation's
        return qualified >= 0 || given.keyColumn([name]) >= 0 ? qualified : scope.keyColumn([name]);
      });
      found.push(rowsOf(relation, keys));
    }
    return found.reduce(both, null);
  };

  const isWhole = ({ bindings, bounds }: Conjunction): boolean =>
    key.every(
      (_, k) =>
        bindings.some(({ columns }) => columns.includes(k)) ||
        (bounds.some(({ column, operator }) => column === k && operator.startsWith('>')) &&
          bounds.some(({ column, operator }) => column === k && operator.startsWith('<'))),
    );

  return {
    widened,
    keyColumn: (node, scope) => column(node, scope).index,
    points: (scopes) => {
      const found = scopes.map(pointsOf).reduce(both, null);
      return found?.every(isWhole) ? found : null;
    },
  };
}

export function conjuncts(node: Node): Node[] {
  const logic = as(node, 'BoolExpr');
  return logic?.boolop === 'AND_EXPR' ? (logic.args ?? []).flatMap(conjuncts) : [node];
}

/** The two columns of `a.x = b.y`, rows taken apart. */
function equalColumns(node: Node): [string[], string[]][] {
  const operation = as(node, 'A_Expr');
  if (operation?.kind !== 'AEXPR_OP' || lastName(operation.name) !== '=') return [];
  const left = as(operation.lexpr, 'RowExpr')?.args ?? [operation.lexpr];
  const right = as(operation.rexpr, 'RowExpr')?.args ?? [operation.rexpr];
  if (left.length !== right.length) return [];
  return left.flatMap((part, k): [string[], string[]][] => {
    const [a, b] = [columnNames(part), columnNames(right[k])];
    return a && b ? [[a, b]] : [];
  });
}

function both(a: Points, b: Points): Points {
  if (a === null || b === null) return a ?? b;
  // dropping one side only widens the answer; a wider key set is then narrowed by nobody, so leave the key open
  if (a.length * b.length > maxConjunctions) return null;
  return a.flatMap((left) =>
    b.map((right) => ({
      bindings: [...left.bindings, ...right.bindings],
      bounds: [...left.bounds, ...right.bounds],
    })),
  );
}

function either(parts: readonly Points[]): Points {
  if (parts.length === 0 || parts.some((part) => part === null)) return null;
  return (parts as (readonly Conjunction[])[]).flat();
}
