import { parseParameters } from './parameters.ts';
import type { ExecutedStatement } from './statement.ts';
import { createTimeReader } from './timestamp.ts';

/** What one line of a log says about executed statements. */
export type LogEvent =
  /** a statement; `done` when the line was written after it had run, so that it cannot fail any more */
  | {
      readonly kind: 'statement';
      readonly statement: ExecutedStatement;
      readonly done: boolean;
      readonly zoneKnown: boolean;
    }
  /** a statement of this session failed while it ran; `sql` is null when the server does not say which */
  | { readonly kind: 'failed'; readonly session: string; readonly sql: string | null; readonly at: number }
  /** the last statement of this session has run */
  | { readonly kind: 'done'; readonly session: string; readonly at: number }
  | { readonly kind: 'other' }
  | { readonly kind: 'malformed' };

interface LogRecord {
  readonly timestamp?: unknown;
  readonly user?: unknown;
  readonly dbname?: unknown;
  readonly pid?: unknown;
  readonly session_id?: unknown;
  readonly ps?: unknown;
  readonly error_severity?: unknown;
  readonly message?: unknown;
  readonly detail?: unknown;
  readonly statement?: unknown;
  readonly application_name?: unknown;
}

const other: LogEvent = { kind: 'other' };
const malformed: LogEvent = { kind: 'malformed' };
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

// `duration: 0.04 ms  execute n1: …` is written after the fact, `execute n1: …` before. The name of a prepared
// statement is the client's to choose, so it ends at the first colon followed by a space, as best as can be told.
const prefix = /^(duration: [0-9.]+ ms {2})?(?:statement: |execute (?!fetch from )[^\n]*?: )/;

/** A reader of PostgreSQL's jsonlog, one line at a time. It never throws. */
export function createJsonlogReader(): (line: string) => LogEvent {
  const readTime = createTimeReader();

  return (line) => {
    const record = readRecord(line);
    if (!record || typeof record.timestamp !== 'string') return malformed;
    const time = readTime(record.timestamp);
    if (!time) return malformed;
    const message = text(record.message);
    const pid = typeof record.pid === 'number' ? record.pid : 0;
    const session = text(record.session_id) || String(pid);

    if (
      record.error_severity === 'ERROR' ||
      record.error_severity === 'FATAL' ||
      record.error_severity === 'PANIC'
    ) {
      // while parsing or binding nothing has run yet; the line before is about an earlier statement
      if (record.ps === 'PARSE' || record.ps === 'BIND') return other;
      const sql = typeof record.statement === 'string' ? record.statement : null;
      return { kind: 'failed', session, sql, at: time.at };
    }
    if (record.error_severity !== 'LOG') return other;

    const found = prefix.exec(message);
    if (!found) return message.startsWith('duration: ') ? { kind: 'done', session, at: time.at } : other;
    const statement: ExecutedStatement = {
      at: time.at,
      database: text(record.dbname),
      user: text(record.user),
      pid,
      session,
      applicationName: text(record.application_name),
      sql: message.slice(found[0].length),
      params: typeof record.detail === 'string' ? parseParameters(record.detail) : null,
    };
    return { kind: 'statement', statement, done: found[1] !== undefined, zoneKnown: time.zoneKnown };
  };
}

function readRecord(line: string): LogRecord | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as LogRecord) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The whole record at the end of a torn line, if there is one. A server that dies in the middle of a line appends its
 * next record to the same line, and that one is good.
 */
export function recordAfterTear(line: string): string | undefined {
  const start = line.lastIndexOf('{"timestamp":');
  return start > 0 ? line.slice(start) : undefined;
}
