import type { MappedColumn, TablePlan } from '../../core/plan.ts';
import { ident } from '../../db/ident.ts';

/** A table by what never changes about it while names do. */
export interface Side {
  readonly oid: number;
  /** all its columns, in table order */
  readonly columns: readonly string[];
}

/**
 * One table takes the place of another: T that of S at the swap, the old S that of T on the way back. What is bound to
 * `from` goes to `to`, by the names of columns. Both directions are the same work.
 */
export interface Move {
  readonly from: Side;
  readonly to: Side;
  /** columns that have one name, one type and one value on both sides: expressions over them mean the same on either */
  readonly kept: readonly string[];
  /** columns that have one name and one value on both sides, perhaps in another type (int, bigint); `kept` among them */
  readonly same: readonly string[];
  /** of those of another type: the cast that the map writes, '' where it leaves that to the assignment */
  readonly casts: Readonly<Record<string, string>>;
  /** `to` is new and is given what it lacks; on the way back it has all that it ever had */
  readonly fresh: boolean;
  /** OID of the migration's overlay, which reads both and goes its own way; 0 before there is one */
  readonly overlay: number;
  /** where `from` stands when the move begins */
  readonly origin: TableName;
  /** where `to` stands when the move is done: at `origin`, or under a name of its own */
  readonly final: TableName;
}

export interface TableName {
  readonly schema: string;
  readonly name: string;
}

/** S hands over to T. Turned around ({@link turned}) it is the way back. */
export function forwardMove(
  plan: Pick<TablePlan, 'sourceOid' | 'targetOid' | 'sourceColumns' | 'targetOrder' | 'columns'>,
  origin: TableName,
  final: TableName,
  overlay = 0,
): Move {
  const same = plan.columns.flatMap((column) => {
    const cast = castOf(column);
    return cast === null ? [] : [[column.name, cast] as const];
  });
  return {
    from: { oid: plan.sourceOid, columns: plan.sourceColumns.map((column) => column.name) },
    to: { oid: plan.targetOid, columns: plan.targetOrder },
    kept: plan.columns.filter((column) => column.identity).map((column) => column.name),
    same: same.map(([name]) => name),
    casts: Object.fromEntries(same),
    fresh: true,
    overlay,
    origin,
    final,
  };
}

/** The same two tables the other way round. */
export const turned = (move: Move, origin: TableName, final: TableName): Move => ({
  ...move,
  from: move.to,
  to: move.from,
  casts: {},
  fresh: false,
  origin,
  final,
});

/** Whether `to` gets the name of `from`; else both keep theirs, and `from` stays where it is. */
export const takesName = ({ origin, final }: Move) =>
  origin.schema === final.schema && origin.name === final.name;

/** `to`, as SQL names it when the move is done. */
export const finalName = ({ final }: Move) => ident(final.schema, final.name);

/** Where the map of a target column is the source column of its name, at most converted to another type: how. Else null. */
function castOf({ name, expression, reads, identity }: MappedColumn): string | null {
  if (identity) return '';
  if (reads.length !== 1 || reads[0] !== name) return null;
  const [, bare, cast = ''] =
    /^\(?(s\.(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*))\)?(::[a-z0-9_ ."(),[\]]+)?$/.exec(expression) ?? [];
  return bare === `s.${ident(name)}` || bare === `s.${name}` ? cast : null;
}
