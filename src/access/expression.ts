import { as, lastName, type Node } from './ast.ts';

// after these a value is another one, or is printed in another way, than its text says
const changingCasts = new Set([
  'bpchar',
  'char',
  'bool',
  'float4',
  'float8',
  'money',
  'bit',
  'varbit',
  'name',
]);
const timeTypes = new Set(['date', 'time', 'timetz', 'timestamp', 'timestamptz']);

/** Where a plan finds a value when it runs: the k-th `?` of the shape, perhaps with its sign turned. */
export type Expression =
  | { readonly kind: 'slot'; readonly slot: number; readonly negate: boolean }
  | { readonly kind: 'null' };

/** Reads a constant or a $n out of the syntax tree; undefined for everything that has to be computed. */
export type ExpressionReader = (node: Node | undefined) => Expression | undefined;

/**
 * @param sql the statement that was parsed
 * @param valueStarts index in `sql` of each slot's value; the parser gives places in bytes of UTF-8
 */
export function createExpressionReader(sql: string, valueStarts: readonly number[]): ExpressionReader {
  const bytes = Buffer.from(sql, 'utf8');
  const starts =
    bytes.length === sql.length ? valueStarts : valueStarts.map((at) => Buffer.byteLength(sql.slice(0, at)));
  const slotAt = new Map(starts.map((start, slot) => [start, slot]));
  const minus = 45;

  const at = (location: number): Expression | undefined => {
    const exact = slotAt.get(location);
    if (exact !== undefined) return { kind: 'slot', slot: exact, negate: false };
    // `-5::int` is -(5::int): the constant begins after the sign that the scan took for a part of it
    const signed = slotAt.get(location - 1);
    if (signed !== undefined && bytes[location - 1] === minus)
      return { kind: 'slot', slot: signed, negate: true };
    // `- 5` is one constant for the parser, and a minus and a value for the scan
    if (bytes[location] === minus) {
      const slot = starts.findIndex((start) => start > location);
      if (slot >= 0) return { kind: 'slot', slot, negate: true };
    }
    return undefined;
  };

  const read: ExpressionReader = (node) => {
    const constant = as(node, 'A_Const');
    if (constant) return constant.isnull ? { kind: 'null' } : at(constant.location ?? 0);
    const parameter = as(node, 'ParamRef');
    if (parameter) return at(parameter.location ?? 0);
    const cast = as(node, 'TypeCast');
    if (cast) {
      const type = lastName(cast.typeName?.names) ?? '';
      if (cast.typeName?.typmods || changingCasts.has(type)) return undefined;
      // a time of day is cut off, a zone is applied
      if (timeTypes.has(type) && as(cast.arg, 'TypeCast')) return undefined;
      return read(cast.arg);
    }
    const operation = as(node, 'A_Expr');
    if (operation?.kind === 'AEXPR_OP' && !operation.lexpr) {
      const sign = lastName(operation.name);
      const value = sign === '-' || sign === '+' ? read(operation.rexpr) : undefined;
      return value?.kind === 'slot' && sign === '-' ? { ...value, negate: !value.negate } : value;
    }
    return undefined;
  };
  return read;
}
