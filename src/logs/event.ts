import { parseParameters, truncatedAmong } from './parameters.ts';
import { type Sampling, weightOf } from './sampling.ts';
import type { ExecutedStatement } from './statement.ts';
import type { Rest, Stretch } from './stretch.ts';
import type { LogTime } from './timestamp.ts';

/** What all three formats say in their own way: who wrote a record of the log, and when. */
export interface LogRecord {
  readonly time: LogTime;
  readonly user: string;
  readonly database: string;
  readonly pid: number;
  readonly session: string;
  readonly applicationName: string;
}

/** What one record says about executed statements. */
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
  /** nothing about statements */
  | { readonly kind: 'other' }
  /** of another database than the one asked for */
  | { readonly kind: 'elsewhere' }
  /** in a language that is not read */
  | { readonly kind: 'foreign' }
  /** no record; `lines` is how many are passed over */
  | { readonly kind: 'malformed'; readonly lines: number };

/** Bytes of one file → events. It keeps no state between stretches but caches. No input makes it throw. */
export interface RecordReader {
  /**
   * @param take called for each record, with the index of its first byte
   * @returns how many bytes are dealt with; the rest is to come again, with more behind it
   */
  read(stretch: Stretch, rest: Rest, take: (event: LogEvent, offset: number) => void): number;
}

export interface EventOptions {
  /** read only what happened in this database; all when absent */
  readonly database?: string;
  /** how the server chose what to log; everything when absent */
  readonly sampling?: Sampling;
  /** `log_parameter_max_length` in bytes, -1 for no limit; not known when absent */
  readonly parameterMaxLength?: number;
}

export const other: LogEvent = { kind: 'other' };
export const elsewhere: LogEvent = { kind: 'elsewhere' };
export const foreign: LogEvent = { kind: 'foreign' };

const failures = new Set(['ERROR', 'FATAL', 'PANIC']);
const quiet = new Set([
  'WARNING',
  'NOTICE',
  'INFO',
  'DEBUG',
  'DEBUG1',
  'DEBUG2',
  'DEBUG3',
  'DEBUG4',
  'DEBUG5',
]);
/** A message of severity LOG that does not tell of a statement. */
export const nothing = -1;
/** … that only tells that one has run. */
export const ran = -2;

/**
 * Finds the statement in a message of severity LOG: `statement: …` and `execute n1: …` are written before it runs,
 * `duration: 0.04 ms  statement: …` afterwards. Parse and bind come before an execution, fetches after it; `duration: 0.04
 * ms` alone is about what was logged before; the plans of auto_explain come while a statement still runs.
 *
 * @returns the index of the statement's text, or {@link nothing}, or {@link ran}
 */
export function statementIn(text: string, start: number, end: number): number {
  let at = start;
  if (text.startsWith('duration: ', start)) {
    const unit = text.indexOf(' ms', start + 10);
    if (unit < 0 || unit > start + 40) return nothing;
    at = unit + 3;
    if (at >= end) return ran;
    if (text.charCodeAt(at) !== 32 || text.charCodeAt(at + 1) !== 32) return nothing;
    at += 2;
    if (text.startsWith('bind ', at) || text.startsWith('parse ', at)) return ran;
    if (text.startsWith('execute fetch from ', at)) return ran;
  }
  if (text.startsWith('statement: ', at)) return at + 11;
  if (!text.startsWith('execute ', at) || text.startsWith('fetch from ', at + 8)) return nothing;
  // the name of a prepared statement is the client's to choose: it ends at the first colon before a space
  const colon = text.indexOf(': ', at + 8);
  const newline = text.indexOf('\n', at + 8);
  return colon < 0 || colon >= end || (newline >= 0 && newline < colon) ? nothing : colon + 2;
}

/** The D in `duration: D ms`, else undefined. */
export function durationIn(text: string, start: number): number | undefined {
  return text.startsWith('duration: ', start)
    ? Number(text.slice(start + 10, text.indexOf(' ms', start + 10)))
    : undefined;
}

/** Makes events of what the readers have found. */
export class Events {
  private readonly sampling: Sampling | undefined;
  private readonly parameterMaxLength: number | undefined;
  private readonly database: string | undefined;

  constructor({ database, sampling, parameterMaxLength }: EventOptions) {
    this.database = database;
    this.sampling = sampling;
    this.parameterMaxLength = parameterMaxLength;
  }

  isElsewhere(database: string): boolean {
    return this.database !== undefined && database !== '' && database !== this.database;
  }

  /** @param duration milliseconds; undefined when the record was written before the statement ran */
  executed(record: LogRecord, sql: string, detail: string | null, duration: number | undefined): LogEvent {
    const params = detail === null ? null : parseParameters(detail);
    const { time, user, database, pid, session, applicationName } = record;
    const statement: ExecutedStatement = {
      at: time.at,
      database,
      user,
      pid,
      session,
      applicationName,
      sql,
      params,
      truncated: params && truncatedAmong(params, this.parameterMaxLength),
      prepare: params === null && detail?.startsWith('prepare: ') ? detail.slice(9) : null,
      weight: this.sampling && duration !== undefined ? weightOf(duration, this.sampling) : 1,
    };
    return { kind: 'statement', statement, done: duration !== undefined, zoneKnown: time.zoneKnown };
  }

  /**
   * For a severity other than LOG.
   * @param commandTag what the session was at: SELECT, PARSE, BIND; empty when the log does not tell
   * @param statement the statement that caused it
   */
  raised(
    { session, time }: LogRecord,
    severity: string,
    commandTag: string,
    statement: string | null,
  ): LogEvent {
    if (quiet.has(severity)) return other;
    if (!failures.has(severity)) return foreign;
    // while parsing or binding nothing has run yet; the line before is about an earlier statement
    if (commandTag === 'PARSE' || commandTag === 'BIND') return other;
    return { kind: 'failed', session, sql: statement, at: time.at };
  }
}
