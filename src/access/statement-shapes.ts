import type { ExecutedStatement } from '../logs/statement.ts';
import { scanShape } from './shape.ts';
import { type Usage, type UsageTable, usagesOf } from './usage.ts';

/** All executions of statements that look alike but for their values. */
export interface StatementShape {
  /** the statement with `?` for every value */
  readonly shape: string;
  readonly usage: Usage;
  /** the parameters of one execution, as the log gave them: kept in memory only, never part of a result */
  readonly params: readonly (string | null)[] | null;
  /** the name by which the table was called: the source's or the target's */
  readonly names: 'source' | 'target';
  readonly executions: number;
  /** of them, in transactions that the log shows to be SERIALIZABLE */
  readonly serializable: number;
  readonly users: readonly string[];
}

export interface StatementShapes {
  /** statements that name the table, in all shapes */
  readonly executions: number;
  /** most frequent first */
  readonly shapes: readonly StatementShape[];
  /** executions of shapes beyond the number that is kept */
  readonly elsewhere: number;
  /** executions that may name the table and cannot be parsed */
  readonly unparsed: number;
  /** statements of all tables that were looked at */
  readonly looked: number;
}

export interface ShapeFilter {
  readonly database?: string;
  /** statements of applications whose name begins so are passed over; `foreshadow`, our own, when absent */
  readonly ignoreApplications?: string;
  /** 500: more shapes than an application without generated SQL has */
  readonly maxShapes?: number;
}

interface Entry {
  shape: string;
  usage: Usage;
  params: readonly (string | null)[] | null;
  names: 'source' | 'target';
  executions: number;
  serializable: number;
  users: Set<string>;
}

/** A session's transaction, as far as its statements tell. */
interface Session {
  /** of the transaction under way; null outside of one */
  transaction: boolean | null;
  serializableByDefault: boolean;
}

const beginning = /^\s*(?:begin|start\s+transaction)\b/i;
const ending =
  /^\s*(?:commit|rollback(?!\s+(?:work\s+|transaction\s+)?to\b)|end|abort|prepare\s+transaction)\b/i;
const serializable = /\bisolation\s+level\s+serializable\b/i;
const leveled = /\bisolation\s+level\b/i;
const byDefault =
  /^\s*set\s+(?:session\s+characteristics\s+as\s+transaction\s+isolation\s+level\s+|(?:session\s+)?default_transaction_isolation\s*(?:=|to)\s*'?)(serializable)?/i;
const sessionsKept = 10_000;

/** Executed statements in, shapes of those that name one of two tables out. Does no I/O; {@link loadParser} comes first. */
export class ShapeCollector {
  private readonly tables: Readonly<Record<'source' | 'target', UsageTable>>;
  private readonly filter: ShapeFilter;
  private readonly known = new Map<string, Entry[] | null>();
  private readonly sessions = new Map<string, Session>();
  private executions = 0;
  private elsewhere = 0;
  private unparsed = 0;
  private looked = 0;
  private kept = 0;

  constructor(tables: Readonly<Record<'source' | 'target', UsageTable>>, filter: ShapeFilter = {}) {
    this.tables = tables;
    this.filter = filter;
  }

  take(batch: Iterable<ExecutedStatement>): void {
    const ours = this.filter.ignoreApplications ?? 'foreshadow';
    for (const statement of batch) {
      const elsewhere = this.filter.database !== undefined && statement.database !== this.filter.database;
      if (elsewhere || (ours !== '' && statement.applicationName.startsWith(ours))) continue;
      this.looked++;
      this.one(statement);
    }
  }

  private one({ sql, params, session, user }: ExecutedStatement): void {
    const strict = this.follow(session, sql);
    const { shape } = scanShape(sql);
    let entries = this.known.get(shape);
    if (entries === undefined) {
      entries = this.read(sql, params);
      if (entries === null || entries.length === 0 || this.kept < (this.filter.maxShapes ?? 500)) {
        // What does not name a table is remembered too, but not without end.
        if (this.known.size < 20_000) this.known.set(shape, entries);
        this.kept += entries?.length ?? 0;
      } else {
        this.executions++;
        this.elsewhere++;
        return;
      }
    }
    if (entries === null) this.unparsed++;
    for (const entry of entries ?? []) {
      this.executions++;
      entry.executions++;
      if (strict) entry.serializable++;
      if (entry.users.size < 20) entry.users.add(user);
      if (entry.params === null && params !== null) entry.params = params;
    }
  }

  /** @returns null when it may name a table, and cannot be read */
  private read(sql: string, params: readonly (string | null)[] | null): Entry[] | null {
    const found: Entry[] = [];
    for (const names of ['source', 'target'] as const) {
      const usages = usagesOf(sql, this.tables[names]);
      if (usages === null) return null;
      for (const usage of usages)
        found.push({
          shape: scanShape(usage.sql).shape,
          usage,
          params,
          names,
          executions: 0,
          serializable: 0,
          users: new Set(),
        });
    }
    return found;
  }

  /** @returns whether this statement runs in a SERIALIZABLE transaction */
  private follow(id: string, sql: string): boolean {
    let session = this.sessions.get(id);
    const head = sql.slice(0, 200);
    const declares = byDefault.exec(head);
    if (!session) {
      if (!declares && !beginning.test(head)) return false;
      if (this.sessions.size >= sessionsKept)
        this.sessions.delete(this.sessions.keys().next().value as string);
      session = { transaction: null, serializableByDefault: false };
      this.sessions.set(id, session);
    }
    if (declares) session.serializableByDefault = declares[1] !== undefined;
    else if (beginning.test(head))
      session.transaction = leveled.test(head) ? serializable.test(head) : session.serializableByDefault;
    else if (/^\s*set\s+transaction\b/i.test(head) && leveled.test(head))
      session.transaction = serializable.test(head);
    else if (ending.test(head)) {
      session.transaction = null;
      return false;
    }
    return session.transaction ?? session.serializableByDefault;
  }

  shapes(): StatementShapes {
    const merged = new Map<string, Entry>();
    for (const entry of [...this.known.values()].flatMap((entries) => entries ?? [])) {
      const id = `${entry.names} ${entry.shape}`;
      const same = merged.get(id);
      if (!same) merged.set(id, { ...entry });
      else {
        same.executions += entry.executions;
        same.serializable += entry.serializable;
        same.users = new Set([...same.users, ...entry.users]);
      }
    }
    const shapes = [...merged.values()].map((entry) => ({ ...entry, users: [...entry.users].sort() }));
    shapes.sort((a, b) => b.executions - a.executions || (a.shape < b.shape ? -1 : 1));
    return {
      executions: this.executions,
      shapes,
      elsewhere: this.elsewhere,
      unparsed: this.unparsed,
      looked: this.looked,
    };
  }
}
