import type { LockingClause, RangeVar, SelectStmt, UpdateStmt } from 'libpg-query';
import { loadModule, parseSync } from 'libpg-query';
import { as, columnNames, lastName, type Node, walk, withoutCasts } from './ast.ts';

/** Something about a statement that a view in the table's place cannot do. */
export type Obstacle =
  | 'write'
  | 'onConflict'
  | 'merge'
  | 'truncate'
  | 'rowLock'
  | 'lockTable'
  | 'systemColumn'
  | 'sample'
  | 'currentOf'
  | 'copy';

export type UsageKind = 'select' | 'insert' | 'update' | 'delete' | 'merge' | 'other';

/** One place where a statement names the table as a relation, in UTF-16 units. */
export interface Place {
  readonly start: number;
  readonly end: number;
  /** the name by which the rest of the statement speaks of it, where the statement gives it no alias */
  readonly alias: string | null;
}

/** What one statement does with one table: all that is needed to try it against another relation in its place. */
export interface Usage {
  /** this statement alone, with its values; never leaves this process */
  readonly sql: string;
  readonly kind: UsageKind;
  readonly places: readonly Place[];
  readonly obstacles: readonly Obstacle[];
  /** columns that conditions compare with `=`, by a range, and that ORDER BY or GROUP BY goes by, each in order of use */
  readonly equal: readonly string[];
  readonly range: readonly string[];
  readonly order: readonly string[];
  /** every column that decides which rows come, in which order, or in which group */
  readonly decisive: readonly string[];
  /** what PostgreSQL would take it for: PREPARE, at least EXPLAIN, or neither (COPY, TRUNCATE, LOCK) */
  readonly planning: 'prepare' | 'explain' | 'none';
}

export interface UsageTable {
  readonly schema: string;
  readonly table: string;
  /** schemas in which an unqualified name is looked up */
  readonly searchPath: readonly string[];
  /** the table's columns: an unqualified name that is none of them belongs to somebody else */
  readonly columns: readonly string[];
}

const systemColumns = ['ctid', 'xmin', 'xmax', 'cmin', 'cmax', 'tableoid'];
const kinds: Readonly<Record<string, UsageKind>> = {
  SelectStmt: 'select',
  InsertStmt: 'insert',
  UpdateStmt: 'update',
  DeleteStmt: 'delete',
  MergeStmt: 'merge',
};

/** Beside those, what an application sends; DDL and maintenance are no reads or writes of its own. */
const others: Readonly<Record<string, Usage['planning']>> = {
  DeclareCursorStmt: 'explain',
  CreateTableAsStmt: 'explain',
  CopyStmt: 'none',
  TruncateStmt: 'none',
  LockStmt: 'none',
};

/** Loads the SQL parser that {@link usagesOf} needs. */
export const loadParser = loadModule;

/**
 * The statements of a text that name the table, with how they use it. Tables inside functions, and behind views, cannot
 * be seen in a statement's text.
 * @returns null when the text cannot be parsed
 */
export function usagesOf(text: string, table: UsageTable): Usage[] | null {
  if (!text.toLowerCase().includes(table.table.toLowerCase())) return [];
  try {
    const bytes = Buffer.from(text);
    const { stmts } = parseSync(text);
    return (stmts ?? []).flatMap(({ stmt_location = 0, stmt_len }) => {
      const sql = bytes
        .subarray(stmt_location, stmt_len ? stmt_location + stmt_len : undefined)
        .toString()
        .trim();
      const usage = usageOf(sql, table);
      return usage ? [usage] : [];
    });
  } catch {
    return null;
  }
}

/** `prepare name (types) as`, whose statement is what there is to say something about. */
const preparing = /^prepare\s+(?:"(?:[^"]|"")+"|[^\s(]+)\s*(?:\([^)]*\)\s*)?as\s+/i;

function usageOf(sql: string, table: UsageTable): Usage | null {
  const node = parseSync(sql).stmts?.[0]?.stmt;
  const outer = Object.keys(node ?? {})[0] ?? '';
  if (outer === 'PrepareStmt' && preparing.test(sql)) return usageOf(sql.replace(preparing, ''), table);
  return node && (outer in kinds || outer in others) ? new Reader(sql, node, table).read() : null;
}

class Reader {
  private readonly sql: string;
  private readonly node: Node;
  private readonly table: UsageTable;
  private readonly ctes = new Set<string>();
  private readonly names = new Set<string>();
  private readonly places: Place[] = [];
  private readonly obstacles = new Set<Obstacle>();
  private readonly equal = new Set<string>();
  private readonly range = new Set<string>();
  private readonly order = new Set<string>();
  private readonly decisive = new Set<string>();

  constructor(sql: string, node: Node, table: UsageTable) {
    this.sql = sql;
    this.node = node;
    this.table = table;
  }

  read(): Usage | null {
    const root = { node: this.node };
    walk(root, (kind, body) => {
      if (kind === 'CommonTableExpr') this.ctes.add((body as { ctename?: string }).ctename ?? '');
      return false;
    });
    walk(root, (kind, body) => this.relation(kind, body));
    if (!this.places.length) return null;
    walk(root, (kind, body) => this.clause(kind, body));
    const outer = Object.keys(this.node)[0] ?? '';
    this.statement(outer);
    return {
      sql: this.sql,
      kind: kinds[outer] ?? 'other',
      places: this.places,
      obstacles: [...this.obstacles],
      equal: [...this.equal],
      range: [...this.range],
      order: [...this.order],
      decisive: [...this.decisive],
      planning: outer in kinds ? 'prepare' : (others[outer] ?? 'none'),
    };
  }

  /** @returns true for what must not be looked into */
  private relation(kind: string, body: unknown): boolean {
    if (kind === 'LockingClause') return true;
    // FROM holds RangeVar nodes; INSERT, UPDATE, DELETE, MERGE and COPY a bare one
    if (kind !== 'RangeVar' && kind !== 'relation') return false;
    const name = body as RangeVar;
    if (name.relname === undefined || !this.isOurs(name)) return false;
    this.names.add(name.alias?.aliasname ?? name.relname);
    const start = utf16(this.sql, name.location ?? 0);
    const parts = 1 + (name.schemaname ? 1 : 0) + (name.catalogname ? 1 : 0);
    const part = '(?:"(?:[^"]|"")+"|[\\p{L}_][\\p{L}\\p{N}_$]*)';
    const text = new RegExp(`^${part}(?:\\s*\\.\\s*${part}){${parts - 1}}`, 'u').exec(this.sql.slice(start));
    if (text)
      this.places.push({ start, end: start + text[0].length, alias: name.alias ? null : name.relname });
    return true;
  }

  private isOurs(name: RangeVar): boolean {
    const { schema, table, searchPath } = this.table;
    if (name.relname !== table) return false;
    if (name.schemaname !== undefined) return name.schemaname === schema;
    return !this.ctes.has(table) && searchPath.includes(schema);
  }

  private statement(outer: string): void {
    const writes = (name: string) => {
      const body = Object.values(this.node)[0] as { relation?: RangeVar };
      return outer === name && body.relation !== undefined && this.isOurs(body.relation);
    };
    if (writes('MergeStmt')) this.obstacles.add('merge');
    if (writes('CopyStmt')) this.obstacles.add('copy');
    if (outer === 'TruncateStmt') this.obstacles.add('truncate');
    if (outer === 'LockStmt') this.obstacles.add('lockTable');
  }

  private clause(kind: string, body: unknown): boolean {
    switch (kind) {
      case 'InsertStmt':
      case 'UpdateStmt':
      case 'DeleteStmt': {
        const { relation, onConflictClause } = body as { relation?: RangeVar; onConflictClause?: unknown };
        if (relation && this.isOurs(relation)) this.obstacles.add(onConflictClause ? 'onConflict' : 'write');
        this.conditions(body as UpdateStmt);
        break;
      }
      case 'SelectStmt':
        this.conditions(body as SelectStmt);
        this.sorting(body as SelectStmt);
        break;
      case 'JoinExpr':
        this.condition((body as { quals?: Node }).quals);
        break;
      case 'LockingClause': {
        const only = (body as LockingClause).lockedRels?.map((node) => as(node, 'RangeVar')?.relname ?? '');
        if (!only || only.some((name) => this.names.has(name))) this.obstacles.add('rowLock');
        break;
      }
      case 'RangeTableSample':
        walk(body, (inner, relation) => {
          if (inner === 'RangeVar' && this.isOurs(relation as RangeVar)) this.obstacles.add('sample');
          return false;
        });
        break;
      case 'CurrentOfExpr':
        this.obstacles.add('currentOf');
        break;
      case 'ColumnRef': {
        const names = columnNames({ ColumnRef: body } as Node);
        const column = names?.at(-1) ?? '';
        const of = names?.at(-2);
        if (systemColumns.includes(column) && (of === undefined || this.names.has(of)))
          this.obstacles.add('systemColumn');
      }
    }
    return false;
  }

  private conditions({ whereClause }: { whereClause?: Node }): void {
    this.condition(whereClause);
  }

  private condition(root: Node | undefined): void {
    if (!root) return;
    this.mention(root);
    for (const part of conjuncts(root)) {
      const test = as(part, 'A_Expr');
      const operator = lastName(test?.name) ?? '';
      const column = this.column(withoutCasts(test?.lexpr)) ?? this.column(withoutCasts(test?.rexpr));
      if (!test || column === undefined) continue;
      const exact = operator === '=' && !test.kind?.includes('BETWEEN');
      if (exact) this.equal.add(column);
      else if (test.kind?.includes('BETWEEN') || /^[<>]=?$/.test(operator) || test.kind === 'AEXPR_LIKE')
        this.range.add(column);
    }
  }

  private sorting({ sortClause, groupClause, havingClause }: SelectStmt): void {
    for (const node of sortClause ?? []) {
      const by = as(node, 'SortBy')?.node;
      const column = this.column(by);
      if (column !== undefined) this.order.add(column);
      this.mention(by);
    }
    for (const node of groupClause ?? []) this.mention(node);
    this.mention(havingClause);
  }

  /** Columns below `root`, those of subqueries left to their own turn. */
  private mention(root: Node | undefined): void {
    if (!root) return;
    walk({ root }, (kind, body) => {
      if (kind === 'SelectStmt') return true;
      const column = kind === 'ColumnRef' ? this.column({ ColumnRef: body } as Node) : undefined;
      if (column !== undefined) this.decisive.add(column);
      return false;
    });
  }

  private column(node: Node | undefined): string | undefined {
    const names = columnNames(node);
    if (!names || (names.length > 1 && !this.names.has(names.at(-2) as string))) return undefined;
    return this.table.columns.includes(names.at(-1) as string) ? names.at(-1) : undefined;
  }
}

function conjuncts(node: Node): Node[] {
  const logic = as(node, 'BoolExpr');
  return logic?.boolop === 'AND_EXPR' ? (logic.args ?? []).flatMap(conjuncts) : [node];
}

/** The parser counts bytes. */
function utf16(text: string, bytes: number): number {
  return Buffer.from(text).subarray(0, bytes).toString().length;
}
