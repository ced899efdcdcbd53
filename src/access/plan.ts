import type {
  CopyStmt,
  DeleteStmt,
  ExplainStmt,
  InsertStmt,
  RangeVar,
  SelectStmt,
  UpdateStmt,
  WithClause,
} from 'libpg-query';
import type { AccessOp } from '../core/access.ts';
import { as, columnNames, type Node, walk } from './ast.ts';
import { createConstantReader, renamed } from './constants.ts';
import type { Expression, ExpressionReader } from './expression.ts';
import { type CteNames, From, type FromPlanner, nothingAround, type Use } from './from.ts';
import { insertPoints } from './insert.ts';
import { planMerge } from './merge.ts';
import { createPointReader, type KeyOfTarget, type PointReader, type Points } from './points.ts';
import { type Reason, reasons } from './reason.ts';
import { callsRoutine, type Routines } from './routines.ts';

export interface PlanTarget {
  readonly schema: string;
  readonly table: string;
  readonly key: readonly string[];
  readonly keyColumns: readonly KeyOfTarget[];
  /** an unqualified name means our table */
  readonly found: boolean;
  /** columns of the table in order, for INSERT without a column list */
  readonly columns: readonly string[] | undefined;
  /** views by `schema.name`, and by their bare name where the search path finds them */
  readonly views: ReadonlyMap<string, SelectStmt>;
  readonly routines: Routines;
  /** other columns by whose value a row may be looked up, for want of a key */
  readonly lookups: readonly KeyOfTarget[];
}

/** One use of the table in one statement: which rows, once the values are known. */
export interface Step {
  readonly op: AccessOp;
  readonly points: NonNullable<Points>;
  /** per key column the value that it is set to, if it is; undefined when the statement leaves the key alone */
  readonly newKey?: readonly (Expression | undefined)[];
  /** at most so many of the rows are looked at */
  readonly limit?: Expression | 'computed';
  /** the points are values of this lookup column, not keys */
  readonly lookup?: number;
}

/** What a statement does to the table. Neither steps nor reasons: it does not touch it. */
export interface StatementPlan {
  readonly steps: readonly Step[];
  readonly reasons: readonly Reason[];
}

export function planStatement(
  node: Node,
  target: PlanTarget,
  readExpression: ExpressionReader,
): StatementPlan {
  const planner = new Planner(target, readExpression);
  planner.statement(node, new Map());
  return { steps: planner.steps, reasons: [...planner.reasons] };
}

export class Planner implements FromPlanner {
  readonly steps: Step[] = [];
  readonly reasons = new Set<Reason>();
  readonly target: PlanTarget;
  readonly read: ExpressionReader;
  readonly reader;
  readonly constants;
  readonly from: From;
  readonly lookupReaders: readonly PointReader[];

  constructor(target: PlanTarget, read: ExpressionReader) {
    this.target = target;
    this.read = read;
    this.reader = createPointReader(target.keyColumns, read);
    this.constants = createConstantReader(read);
    this.from = new From(this);
    this.lookupReaders = target.lookups.map((column) => createPointReader([column], read));
  }

  statement(node: Node, outer: CteNames): void {
    const [kind, body] = Object.entries(node)[0] as [string, never];
    switch (kind) {
      case 'SelectStmt':
        this.from.query(body, outer, nothingAround);
        break;
      case 'InsertStmt':
        this.insert(body, outer);
        break;
      case 'UpdateStmt':
      case 'DeleteStmt':
        this.change(body, outer);
        break;
      case 'MergeStmt':
        planMerge(this, body, outer);
        break;
      case 'ExplainStmt':
        this.explain(body, outer);
        return;
      case 'DeclareCursorStmt':
      case 'CreateTableAsStmt':
        this.within((body as { query?: Node }).query, outer);
        break;
      case 'TruncateStmt':
        this.mentioned(body, reasons.truncate);
        break;
      case 'CopyStmt':
        this.copy(body, outer);
        break;
      case 'ExecuteStmt':
        this.open(reasons.execute);
        break;
      case 'PrepareStmt':
        return;
    }
    if (outer.size === 0 && callsRoutine(node, this.target)) this.open(reasons.routine);
  }

  step(step: Step): void {
    this.steps.push(step);
  }

  open(reason: Reason): void {
    this.reasons.add(reason);
  }

  limitOf(limit: Node): Expression | 'computed' | undefined {
    const constant = as(limit, 'A_Const');
    return constant?.isnull ? undefined : (this.read(limit) ?? 'computed');
  }

  private insert(insert: InsertStmt, outer: CteNames): void {
    const ctes = this.ctes(insert.withClause, outer);
    if (this.isOurs(insert.relation, new Map())) {
      const found = insertPoints(insert, this.target, this.read, this.constants);
      if (found.points.length > 0) this.step({ op: 'W', points: found.points });
      for (const reason of found.reasons) this.open(reason);
    } else if (insert.relation && this.viewOf(insert.relation, new Map())) this.open(reasons.viewWrite);
    const { withClause, relation, ...rest } = insert;
    this.within(rest, ctes);
  }

  /** UPDATE and DELETE */
  private change(change: UpdateStmt & DeleteStmt, outer: CteNames): void {
    const ctes = this.ctes(change.withClause, outer);
    const more = change.fromClause ?? change.usingClause;
    this.from.list(more, change.whereClause, ctes);
    const { relation } = change;
    const view = relation && this.viewOf(relation, new Map());
    if (relation && (view || this.isOurs(relation, new Map()))) {
      const { conditions, constants } = this.from.common(more, change.whereClause, ctes);
      const use: Use = { op: 'W', table: relation, conditions, constants };
      if (view) this.open(reasons.viewWrite);
      else this.from.use({ ...use, newKey: this.newKey(change.targetList ?? []), stays: staying(change) });
    }
    const { withClause, relation: _, fromClause, usingClause, ...rest } = change;
    this.within(rest, ctes);
  }

  private explain(explain: ExplainStmt, outer: CteNames): void {
    const runs = explain.options?.some((option) => as(option, 'DefElem')?.defname === 'analyze');
    if (runs) this.within(explain.query, outer);
  }

  private copy(copy: CopyStmt, outer: CteNames): void {
    this.within(copy.query, outer);
    this.mentioned({ relation: copy.relation }, reasons.copy);
  }

  /** Values that an UPDATE gives to key columns; undefined when it gives none. */
  newKey(assignments: readonly Node[]): (Expression | undefined)[] | undefined {
    const values: (Expression | undefined)[] = this.target.key.map(() => undefined);
    let changed = false;
    for (const node of assignments) {
      const assignment = as(node, 'ResTarget');
      const column = this.target.key.indexOf(assignment?.name ?? '');
      if (!assignment || column < 0) continue;
      const multiple = as(assignment.val, 'MultiAssignRef');
      const row = as(multiple?.source, 'RowExpr')?.args;
      const value = multiple ? row?.[(multiple.colno ?? 1) - 1] : assignment.val;
      if (columnNames(value)?.at(-1) === assignment.name) continue; // set id = id
      values[column] = this.read(value);
      if (values[column]) changed = true;
      else this.open(value && as(value, 'SetToDefault') ? reasons.generated : reasons.newKey);
    }
    return changed ? values : undefined;
  }

  ctesOf(query: SelectStmt, outer: CteNames): CteNames {
    return this.ctes(query.withClause, outer);
  }

  /** Plans the CTEs of a statement. @returns the names that the statement itself sees */
  ctes(clause: WithClause | undefined, outer: CteNames): CteNames {
    if (!clause?.ctes) return outer;
    const names = new Map(outer);
    const bodies = clause.ctes.map((node) => as(node, 'CommonTableExpr'));
    if (clause.recursive) for (const cte of bodies) names.set(cte?.ctename ?? '', null);
    for (const cte of bodies) {
      const name = cte?.ctename ?? '';
      this.within(cte?.ctequery, new Map(names));
      const held = clause.recursive ? undefined : this.constants(cte?.ctequery, name);
      names.set(name, held ? renamed(held, cte?.aliascolnames) : null);
    }
    return names;
  }

  /** Plans the statements inside an expression, a subquery, a CTE. */
  within(root: unknown, ctes: CteNames): void {
    walk([root], (kind, body) => {
      switch (kind) {
        case 'SelectStmt':
        case 'InsertStmt':
        case 'UpdateStmt':
        case 'DeleteStmt':
        case 'MergeStmt':
          this.inner({ [kind]: body } as unknown as Node, ctes);
          return true;
        default:
          return false;
      }
    });
  }

  /** A statement inside another: routines that it calls were seen in the outer one. */
  private inner(node: Node, ctes: CteNames): void {
    const select = as(node, 'SelectStmt');
    if (select) this.from.query(select, ctes, nothingAround);
    else this.statement(node, new Map([...ctes, ['', null]]));
  }

  private mentioned(root: unknown, reason: Reason): void {
    walk([root], (kind, body) => {
      const isTable = kind === 'RangeVar' || (kind as string) === 'relation';
      if (isTable && this.isOurs(body as RangeVar, new Map())) this.open(reason);
      return false;
    });
  }

  isOurs(table: RangeVar | undefined, ctes: CteNames): boolean {
    const { target } = this;
    if (table?.relname !== target.table) return false;
    if (table.schemaname !== undefined) return table.schemaname === target.schema;
    return !ctes.has(target.table) && target.found;
  }

  viewOf(table: RangeVar, ctes: CteNames): SelectStmt | undefined {
    const { views } = this.target;
    const name = table.relname ?? '';
    if (views.size === 0) return undefined;
    if (table.schemaname !== undefined) return views.get(`${table.schemaname}.${name}`);
    return ctes.has(name) ? undefined : views.get(name);
  }
}

/** The columns that rows have after the statement as before it: none are left of rows that it deletes. */
function staying(change: UpdateStmt & DeleteStmt): (column: string) => boolean {
  if (!change.targetList) return () => false;
  const set = new Set(change.targetList.map((node) => as(node, 'ResTarget')?.name));
  return (column) => !set.has(column);
}
