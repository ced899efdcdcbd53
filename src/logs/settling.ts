import type { ExecutedStatement } from './statement.ts';

type State = 'pending' | 'done' | 'failed';
/** Where a statement's line begins. */
export interface Origin {
  readonly file: string;
  readonly offset: number;
}
interface Entry {
  readonly statement: ExecutedStatement;
  readonly origin: Origin | undefined;
  readonly arrived: number;
  state: State;
}

const mostCharacters = 16 * 1024 * 1024;

/**
 * Holds statements back until it is known that they did not fail, and hands them out in the order of the log.
 *
 * `log_statement` writes its line *before* the statement runs, so an error of the same session takes it back. A
 * statement counts as done with the session's next statement or duration line, after `holdSeconds`, or when more than
 * `holdStatements` wait, or more than 16 MB of them: a statement that fails later than that is counted as executed.
 */
export class SettlingQueue {
  private entries: Entry[] = [];
  private head = 0;
  private readonly last = new Map<string, Entry>();
  private readonly holdSeconds: number;
  private readonly holdStatements: number;
  failed = 0;
  /** characters that wait */
  private size = 0;

  constructor(holdSeconds: number, holdStatements: number) {
    this.holdSeconds = holdSeconds;
    this.holdStatements = holdStatements;
  }

  /** @param now seconds, on any clock that the caller sticks to */
  push(statement: ExecutedStatement, done: boolean, now: number, origin?: Origin): void {
    this.done(statement.session);
    const entry: Entry = { statement, origin, arrived: now, state: done ? 'done' : 'pending' };
    if (!done) this.last.set(statement.session, entry);
    this.entries.push(entry);
    this.size += statement.sql.length;
  }

  done(session: string): void {
    const entry = this.last.get(session);
    if (!entry) return;
    entry.state = 'done';
    this.last.delete(session);
  }

  /** @param sql the text that failed; another text than the last one's never got as far as running */
  fail(session: string, sql: string | null): void {
    const entry = this.last.get(session);
    if (!entry || (sql !== null && sql !== entry.statement.sql)) return;
    entry.state = 'failed';
    this.last.delete(session);
    this.failed++;
  }

  /** Appends to `out` what is settled, or has waited long enough by `now`. */
  release(now: number, out: ExecutedStatement[]): void {
    while (this.head < this.entries.length) {
      const entry = this.entries[this.head] as Entry;
      if (entry.state === 'pending') {
        const full = this.entries.length - this.head > this.holdStatements || this.size > mostCharacters;
        if (!full && now - entry.arrived < this.holdSeconds) break;
        this.done(entry.statement.session);
      }
      if (entry.state !== 'failed') out.push(entry.statement);
      this.size -= entry.statement.sql.length;
      this.head++;
    }
    if (this.head > 1024 && this.head * 2 > this.entries.length) {
      this.entries = this.entries.slice(this.head);
      this.head = 0;
    }
  }

  flush(out: ExecutedStatement[]): void {
    this.release(Number.POSITIVE_INFINITY, out);
  }

  /** The first line of each file that still waits; all before it in that file are handed out. */
  waiting(): Map<string, number> {
    const first = new Map<string, number>();
    for (let i = this.head; i < this.entries.length; i++) {
      const { origin } = this.entries[i] as Entry;
      if (origin && !first.has(origin.file)) first.set(origin.file, origin.offset);
    }
    return first;
  }
}
