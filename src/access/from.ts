import type { JoinExpr, RangeSubselect, RangeVar, SelectStmt } from 'libpg-query';
import type { AccessOp } from '../core/access.ts';
import { as, type Node, nameOf } from './ast.ts';
import type { ConstantReader, ConstantRelation } from './constants.ts';
import type { Expression } from './expression.ts';
import { namesOf, type Outputs, outputsByPlace, outputsOf } from './outputs.ts';
import type { PlanTarget, Step } from './plan.ts';
import type { PointReader, Scope } from './points.ts';
import { type Reason, whyOpen } from './reason.ts';

/** The names that stand for something else than a table, and what they hold where that is constants only. */
export type CteNames = ReadonlyMap<string, ConstantRelation | null>;

/** A query around the one that uses the table: its conditions hold for the rows that come out of it. */
interface Outside {
  readonly conditions: readonly Node[];
  readonly constants: readonly ConstantRelation[];
  /** what the inner query calls a column that the outer one names */
  inner(names: readonly string[]): string[][];
}

/** What restricts the rows of a FROM item, beside its own query's conditions. */
export interface Surroundings {
  readonly outside: readonly Outside[];
  readonly limit: Expression | 'computed' | undefined;
}

export const nothingAround: Surroundings = { outside: [], limit: undefined };

/** A use of the table, and the conditions that hold for its rows. */
export interface Use {
  readonly op: AccessOp;
  readonly table: RangeVar;
  readonly conditions: readonly Node[];
  readonly constants: readonly ConstantRelation[];
  readonly around?: Surroundings;
  readonly newKey?: Step['newKey'] | undefined;
  /** a row has this column after the statement as before it, so that it can still be looked up by it */
  readonly stays?: (column: string) => boolean;
}

/** What the walk through FROM clauses needs of the planner. */
export interface FromPlanner {
  readonly target: PlanTarget;
  readonly reader: PointReader;
  readonly lookupReaders: readonly PointReader[];
  readonly constants: ConstantReader;
  isOurs(table: RangeVar | undefined, ctes: CteNames): boolean;
  viewOf(table: RangeVar, ctes: CteNames): SelectStmt | undefined;
  within(root: unknown, ctes: CteNames): void;
  ctesOf(query: SelectStmt, outer: CteNames): CteNames;
  limitOf(limit: Node): Expression | 'computed' | undefined;
  step(step: Step): void;
  open(reason: Reason): void;
}

/** Finds the uses of the table among the items of a FROM list, and what the conditions around say of their keys. */
export class From {
  private readonly planner: FromPlanner;

  constructor(planner: FromPlanner) {
    this.planner = planner;
  }

  list(
    items: readonly Node[] | undefined,
    where: Node | undefined,
    ctes: CteNames,
    around: Surroundings = nothingAround,
  ): void {
    const { conditions, constants } = this.common(items, where, ctes);
    for (const item of items ?? []) this.item(item, conditions, constants, ctes, around);
  }

  /** The conditions that hold for every row of the list, and its constant relations. */
  common(
    items: readonly Node[] | undefined,
    where: Node | undefined,
    ctes: CteNames,
  ): { conditions: Node[]; constants: ConstantRelation[] } {
    const conditions = where ? [where] : [];
    // `from a, b join c on …`: an inner join's condition restricts every item of the list
    for (const item of items ?? []) conditions.push(...innerConditions(item));
    const constants: ConstantRelation[] = [];
    for (const item of items ?? []) this.collectConstants(item, ctes, constants);
    return { conditions, constants };
  }

  /** One use of the table: a step with its rows, or the reason why they are open. */
  use({ op, table, conditions, constants, around = nothingAround, newKey, stays = () => false }: Use): void {
    const { planner } = this;
    const { limit } = around;
    const step = { op, ...(newKey && { newKey }), ...(limit && { limit }) };
    const scopesOf = (columns: readonly string[]) =>
      this.scopes(table, conditions, constants, around.outside, columns);
    const scopes = scopesOf(planner.target.key);
    const points = planner.reader.points(scopes);
    if (points) {
      planner.step({ ...step, points });
      return;
    }
    const { lookups } = planner.target;
    for (let lookup = 0; lookup < lookups.length && !newKey; lookup++) {
      const { name } = lookups[lookup] as { name: string };
      const values = stays(name) && planner.lookupReaders[lookup]?.points(scopesOf([name]));
      if (!values) continue;
      planner.step({ ...step, points: values, lookup });
      return;
    }
    const isKey = (node: Node, scope: Scope) => planner.reader.keyColumn(node, scope) >= 0;
    planner.open(whyOpen(scopes, isKey, planner.target.key.length));
  }

  /** A query in a FROM list, or a view: conditions from around it reach into it. */
  query(query: SelectStmt, ctes: CteNames, around: Surroundings, outputs?: Outputs): void {
    const { planner } = this;
    const inner = planner.ctesOf(query, ctes);
    const limit = query.limitCount ? planner.limitOf(query.limitCount) : around.limit;
    const { larg, rarg, withClause, fromClause, ...rest } = query;
    if (larg && rarg) {
      const first = firstArm(query);
      const names = query.limitCount === undefined && first ? namesOf(first) : undefined;
      for (const arm of [larg, rarg]) {
        const nested = arm.larg !== undefined;
        const by = names && !nested ? outputsByPlace(arm, names) : undefined;
        this.query(arm, inner, { ...(by ? replaceOutputs(around, by) : { outside: [] }), limit }, by);
      }
    } else {
      const reach = outputs ?? outputsOf(query);
      this.list(fromClause, query.whereClause, inner, { outside: reach ? around.outside : [], limit });
    }
    planner.within(rest, inner);
  }

  private item(
    item: Node | undefined,
    conditions: readonly Node[],
    constants: readonly ConstantRelation[],
    ctes: CteNames,
    around: Surroundings,
  ): void {
    const { planner } = this;
    const join = as(item, 'JoinExpr');
    if (join) {
      // names inside an aliased join are not seen from outside
      const outer = join.alias ? [] : conditions;
      // the condition of an outer join restricts its optional side only
      const quals = joinConditions(join).filter((node) => !outer.includes(node));
      const on = [...outer, ...quals];
      const type = join.jointype;
      const left = type === 'JOIN_INNER' || type === 'JOIN_RIGHT' ? on : outer;
      const right = type === 'JOIN_INNER' || type === 'JOIN_LEFT' ? on : outer;
      this.item(join.larg, left, constants, ctes, around);
      this.item(join.rarg, right, constants, ctes, around);
      planner.within(join.quals, ctes);
      return;
    }
    const table = as(item, 'RangeVar') ?? as(as(item, 'RangeTableSample')?.relation, 'RangeVar');
    const derived = as(item, 'RangeSubselect');
    if (derived) this.derived(derived, conditions, constants, ctes, around);
    else if (!table) planner.within(item, ctes);
    else if (planner.isOurs(table, ctes))
      this.use({ op: 'R', table, conditions, constants, around, stays: () => true });
    else {
      const view = planner.viewOf(table, ctes);
      if (!view) return;
      const name = table.alias?.aliasname ?? table.relname ?? '';
      const outputs = outputsOf(firstArm(view) ?? view, table.alias?.colnames);
      this.query(view, new Map(), inside(around, name, outputs, conditions, constants));
    }
  }

  private derived(
    derived: RangeSubselect,
    conditions: readonly Node[],
    constants: readonly ConstantRelation[],
    ctes: CteNames,
    around: Surroundings,
  ): void {
    const query = as(derived.subquery, 'SelectStmt');
    if (!query) {
      this.planner.within(derived, ctes);
      return;
    }
    const name = derived.alias?.aliasname ?? '';
    const outputs = outputsOf(firstArm(query) ?? query, derived.alias?.colnames);
    this.query(query, ctes, inside(around, name, outputs, conditions, constants));
  }

  private scopes(
    table: RangeVar,
    conditions: readonly Node[],
    constants: readonly ConstantRelation[],
    outside: readonly Outside[],
    columns: readonly string[],
  ): Scope[] {
    const { planner } = this;
    const keyColumn = columnFinder(table, planner.target, columns);
    let scope: Scope = planner.reader.widened({ conditions, constants, keyColumn });
    const scopes: Scope[] = [{ conditions, constants, keyColumn }];
    for (const { inner, conditions: outer, constants: beside } of outside) {
      const within = scope;
      const next: Scope = {
        conditions: outer,
        constants: beside,
        keyColumn: (names) => {
          for (const candidate of inner(names)) {
            const index = within.keyColumn(candidate);
            if (index >= 0) return index;
          }
          return -1;
        },
      };
      scopes.push(next);
      scope = planner.reader.widened(next);
    }
    return scopes;
  }

  private collectConstants(item: Node | undefined, ctes: CteNames, into: ConstantRelation[]): void {
    const join = as(item, 'JoinExpr');
    if (join) {
      if (join.alias) return;
      this.collectConstants(join.larg, ctes, into);
      this.collectConstants(join.rarg, ctes, into);
      return;
    }
    const table = as(item, 'RangeVar');
    const cte = table && table.schemaname === undefined ? ctes.get(table.relname ?? '') : undefined;
    const found = cte
      ? { ...cte, name: table?.alias?.aliasname ?? cte.name }
      : this.planner.constants(item, '');
    if (found) into.push(found);
  }
}

/** Speaks of the table's key columns: by its alias or name, and by the names that an alias gives to its columns. */
function columnFinder(table: RangeVar, target: PlanTarget, columns: readonly string[]): Scope['keyColumn'] {
  const name = table.alias?.aliasname ?? table.relname ?? '';
  const renamed = table.alias?.colnames?.map((node) => nameOf(node) ?? '');
  const key = renamed
    ? columns.map((column) => {
        const place = target.columns?.indexOf(column) ?? -1;
        // without the order of the columns nobody knows what the alias renames
        return place < 0 ? '' : (renamed[place] ?? column);
      })
    : columns;
  return (names) => {
    const [column, of, schema] = names.toReversed();
    if (of !== undefined && of !== name) return -1;
    if (schema !== undefined && (table.alias !== undefined || schema !== target.schema)) return -1;
    return key.indexOf(column as string);
  };
}

function inside(
  around: Surroundings,
  name: string,
  outputs: Outputs | undefined,
  conditions: readonly Node[],
  constants: readonly ConstantRelation[],
): Surroundings {
  if (!outputs) return { ...around, outside: [] };
  return {
    ...around,
    outside: [{ conditions, constants, inner: through(name, outputs) }, ...around.outside],
  };
}

const through =
  (name: string, outputs: Outputs) =>
  (names: readonly string[]): string[][] => {
    const [column, of, schema] = names.toReversed();
    return schema !== undefined || (of !== undefined && of !== name) ? [] : outputs(column as string);
  };

/** The nearest query around, seen through other outputs; its name for the derived table stays. */
function replaceOutputs(around: Surroundings, outputs: Outputs): Surroundings {
  const [nearest, ...rest] = around.outside;
  if (!nearest) return around;
  // the column's own name, after whatever qualifies it: the nearest query has checked that already
  const inner = (names: readonly string[]) =>
    nearest.inner(names).length > 0 ? outputs(names.at(-1) as string) : [];
  return { ...around, outside: [{ ...nearest, inner }, ...rest] };
}

function firstArm(query: SelectStmt): SelectStmt | undefined {
  let arm: SelectStmt | undefined = query;
  while (arm?.larg) arm = arm.larg;
  return arm;
}

/** The conditions of the inner joins at the top of a FROM item: they hold for every row that comes out. */
export function innerConditions(item: Node | undefined): Node[] {
  const join: JoinExpr | undefined = as(item, 'JoinExpr');
  if (join?.jointype !== 'JOIN_INNER' || join.alias) return [];
  return [...joinConditions(join), ...innerConditions(join.larg), ...innerConditions(join.rarg)];
}

const usings = new WeakMap<JoinExpr, Node[]>();

/** ON, or what USING says: `left.x = right.x` for every pair of names on its two sides. */
function joinConditions(join: JoinExpr): Node[] {
  let found = usings.get(join);
  if (!found) {
    found = join.quals ? [join.quals] : [];
    for (const node of join.usingClause ?? []) {
      const column = nameOf(node) ?? '';
      for (const left of namesIn(join.larg))
        for (const right of namesIn(join.rarg)) found.push(sameColumn([left, column], [right, column]));
      // the merged column, by its bare name, is either's
      for (const right of namesIn(join.rarg)) found.push(sameColumn([column], [right, column]));
    }
    usings.set(join, found);
  }
  return found;
}

function namesIn(item: Node | undefined): string[] {
  const join = as(item, 'JoinExpr');
  if (join) return join.alias ? [join.alias.aliasname ?? ''] : [...namesIn(join.larg), ...namesIn(join.rarg)];
  const table = as(item, 'RangeVar');
  if (table) return [table.alias?.aliasname ?? table.relname ?? ''];
  const alias = (as(item, 'RangeSubselect') ?? as(item, 'RangeFunction'))?.alias?.aliasname;
  return alias === undefined ? [] : [alias];
}

function sameColumn(a: readonly string[], b: readonly string[]): Node {
  const column = (names: readonly string[]): Node => ({
    ColumnRef: { fields: names.map((sval) => ({ String: { sval } })), location: -1 },
  });
  return {
    A_Expr: {
      kind: 'AEXPR_OP',
      name: [{ String: { sval: '=' } }],
      lexpr: column(a),
      rexpr: column(b),
      location: -1,
    },
  };
}
