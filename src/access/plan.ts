import type {
  CopyStmt,
  DeleteStmt,
  ExplainStmt,
  InsertStmt,
  JoinExpr,
  RangeVar,
  SelectStmt,
  UpdateStmt,
  WithClause,
} from 'libpg-query';
import type { AccessOp } from '../core/access.ts';
import { as, columnNames, type Node, walk } from './ast.ts';
import type { Expression, ExpressionReader } from './expression.ts';
import { insertPoints } from './insert.ts';
import { createPointReader, type PointReader, type Points, type TableReference } from './points.ts';
import { type Reason, reasons, whyOpen } from './reason.ts';

export interface PlanTarget {
  readonly schema: string;
  readonly table: string;
  readonly key: readonly string[];
  /** schemas that an unqualified name may mean */
  readonly searchPath: readonly string[];
  /** columns of the table in order, for INSERT without a column list */
  readonly columns: readonly string[] | undefined;
}

/** One use of the table in one statement: which rows, once the values are known. */
export interface Step {
  readonly op: AccessOp;
  readonly points: NonNullable<Points>;
  /** per key column the value that it is set to, if it is; undefined when the statement leaves the key alone */
  readonly newKey?: readonly (Expression | undefined)[];
}

/** What a statement does to the table. Neither steps nor reasons: it does not touch it. */
export interface StatementPlan {
  readonly steps: readonly Step[];
  readonly reasons: readonly Reason[];
}

/** The names that stand for something else than a table. */
type CteNames = ReadonlySet<string>;

export function planStatement(
  node: Node,
  target: PlanTarget,
  readExpression: ExpressionReader,
): StatementPlan {
  const planner = new Planner(target, readExpression);
  planner.statement(node, new Set());
  return { steps: planner.steps, reasons: [...planner.reasons] };
}

class Planner {
  readonly steps: Step[] = [];
  readonly reasons = new Set<Reason>();
  private readonly target: PlanTarget;
  private readonly read: ExpressionReader;
  private readonly reader: PointReader;

  constructor(target: PlanTarget, read: ExpressionReader) {
    this.target = target;
    this.read = read;
    this.reader = createPointReader(target.key, read);
  }

  statement(node: Node, outer: CteNames): void {
    const [kind, body] = Object.entries(node)[0] as [string, never];
    switch (kind) {
      case 'SelectStmt':
        this.select(body, outer);
        break;
      case 'InsertStmt':
        this.insert(body, outer);
        break;
      case 'UpdateStmt':
      case 'DeleteStmt':
        this.change(body, outer);
        break;
      case 'ExplainStmt':
        this.explain(body, outer);
        break;
      case 'DeclareCursorStmt':
      case 'CreateTableAsStmt':
        this.within((body as { query?: Node }).query, outer);
        break;
      case 'MergeStmt':
        this.mentioned(body, reasons.merge);
        break;
      case 'TruncateStmt':
        this.mentioned(body, reasons.truncate);
        break;
      case 'CopyStmt':
        this.copy(body, outer);
        break;
      case 'ExecuteStmt':
        this.reasons.add(reasons.execute);
        break;
      case 'DoStmt':
      case 'CallStmt':
        this.reasons.add(reasons.routine);
    }
  }

  private select(select: SelectStmt, outer: CteNames): void {
    const ctes = this.ctes(select.withClause, outer);
    if (select.larg) this.select(select.larg, ctes);
    if (select.rarg) this.select(select.rarg, ctes);
    this.from(select.fromClause, select.whereClause, ctes);
    const { larg, rarg, withClause, fromClause, ...rest } = select;
    this.within(rest, ctes);
  }

  private insert(insert: InsertStmt, outer: CteNames): void {
    const ctes = this.ctes(insert.withClause, outer);
    if (this.isOurs(insert.relation, new Set())) {
      const found = insertPoints(insert, this.target, this.read);
      if (found.points.length > 0) this.steps.push({ op: 'W', points: found.points });
      for (const reason of found.reasons) this.reasons.add(reason);
    }
    const { withClause, relation, ...rest } = insert;
    this.within(rest, ctes);
  }

  /** UPDATE and DELETE */
  private change(change: UpdateStmt & DeleteStmt, outer: CteNames): void {
    const ctes = this.ctes(change.withClause, outer);
    const more = change.fromClause ?? change.usingClause;
    this.from(more, change.whereClause, ctes);
    if (change.relation && this.isOurs(change.relation, new Set())) {
      const conditions = change.whereClause ? [change.whereClause] : [];
      for (const item of more ?? []) conditions.push(...innerConditions(item));
      const newKey = this.newKey(change.targetList ?? []);
      this.use('W', change.relation, conditions, newKey);
    }
    const { withClause, relation, fromClause, usingClause, ...rest } = change;
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
  private newKey(assignments: readonly Node[]): (Expression | undefined)[] | undefined {
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
      else this.reasons.add(value && as(value, 'SetToDefault') ? reasons.generated : reasons.newKey);
    }
    return changed ? values : undefined;
  }

  /** Plans the CTEs of a statement. @returns the names that the statement itself sees */
  private ctes(clause: WithClause | undefined, outer: CteNames): CteNames {
    if (!clause?.ctes) return outer;
    const names = new Set(outer);
    const bodies = clause.ctes.map((node) => as(node, 'CommonTableExpr'));
    if (clause.recursive) for (const cte of bodies) names.add(cte?.ctename ?? '');
    for (const cte of bodies) {
      this.within(cte?.ctequery, new Set(names));
      names.add(cte?.ctename ?? '');
    }
    return names;
  }

  private from(items: readonly Node[] | undefined, where: Node | undefined, ctes: CteNames): void {
    const conditions = where ? [where] : [];
    // `from a, b join c on …`: an inner join's condition restricts every item of the list
    for (const item of items ?? []) conditions.push(...innerConditions(item));
    for (const item of items ?? []) this.item(item, conditions, ctes);
  }

  private item(item: Node | undefined, conditions: readonly Node[], ctes: CteNames): void {
    const join = as(item, 'JoinExpr');
    if (join) {
      // the condition of an outer join restricts its optional side only
      const on = join.quals && !conditions.includes(join.quals) ? [...conditions, join.quals] : conditions;
      const type = join.jointype;
      this.item(join.larg, type === 'JOIN_INNER' || type === 'JOIN_RIGHT' ? on : conditions, ctes);
      this.item(join.rarg, type === 'JOIN_INNER' || type === 'JOIN_LEFT' ? on : conditions, ctes);
      this.within(join.quals, ctes);
      return;
    }
    const table = as(item, 'RangeVar') ?? as(as(item, 'RangeTableSample')?.relation, 'RangeVar');
    if (!table) this.within(item, ctes);
    else if (this.isOurs(table, ctes)) this.use('R', table, conditions);
  }

  private use(op: AccessOp, table: RangeVar, conditions: readonly Node[], newKey?: Step['newKey']): void {
    const name = table.alias?.aliasname ?? table.relname ?? '';
    const reference: TableReference = {
      schema: this.target.schema,
      name,
      aliased: table.alias !== undefined,
    };
    const points = this.reader.points(conditions, reference);
    if (points) this.steps.push({ op, points, ...(newKey && { newKey }) });
    else {
      const isKey = (node: Node) => this.reader.keyColumn(node, reference) >= 0;
      this.reasons.add(whyOpen(conditions, isKey, this.target.key.length));
    }
  }

  /** Plans the statements inside an expression, a subquery, a CTE. */
  private within(root: unknown, ctes: CteNames): void {
    walk([root], (kind, body) => {
      if (kind !== 'SelectStmt' && kind !== 'InsertStmt' && kind !== 'UpdateStmt' && kind !== 'DeleteStmt') {
        if (kind === 'MergeStmt') this.statement({ MergeStmt: body } as Node, ctes);
        return kind === 'MergeStmt';
      }
      this.statement({ [kind]: body } as unknown as Node, ctes);
      return true;
    });
  }

  private mentioned(root: unknown, reason: Reason): void {
    walk([root], (kind, body) => {
      const isTable = kind === 'RangeVar' || (kind as string) === 'relation';
      if (isTable && this.isOurs(body as RangeVar, new Set())) this.reasons.add(reason);
      return false;
    });
  }

  private isOurs(table: RangeVar | undefined, ctes: CteNames): boolean {
    const { target } = this;
    if (table?.relname !== target.table) return false;
    if (table.schemaname !== undefined) return table.schemaname === target.schema;
    return !ctes.has(target.table) && target.searchPath.includes(target.schema);
  }
}

/** The conditions of the inner joins at the top of a FROM item: they hold for every row that comes out. */
function innerConditions(item: Node | undefined): Node[] {
  const join: JoinExpr | undefined = as(item, 'JoinExpr');
  if (join?.jointype !== 'JOIN_INNER') return [];
  return [...(join.quals ? [join.quals] : []), ...innerConditions(join.larg), ...innerConditions(join.rarg)];
}
