import { parseParameters, truncatedAmong } from './parameters.ts';
import { type Sampling, weightOf } from './sampling.ts';
import type { ExecutedStatement } from './statement.ts';
import type { Rest, Stretch } from './stretch.ts';
import type { LogTime } from './timestamp.ts';

/** What all three formats say in their own way: one record of the log. */
export interface LogRecord {
  readonly time: LogTime;
  readonly user: string;
  readonly database: string;
  readonly pid: number;
  readonly session: string;
  readonly applicationName: string;
  /** as the server wrote it: LOG, ERROR, or a word of another language */
  readonly severity: string;
  /** what the session was at: SELECT, PARSE, BIND; empty when the log does not tell */
  readonly commandTag: string;
  readonly message: string;
  readonly detail: string | null;
  /** the statement that caused an error */
  readonly statement: string | null;
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
/** Whether it is a severity of the English message catalogue. */
export const isSeverity = (word: string): boolean => word === 'LOG' || failures.has(word) || quiet.has(word);

// `duration: 0.04 ms  execute n1: …` is written after the fact, `execute n1: …` before. The name of a prepared
// statement is the client's to choose, so it ends at the first colon followed by a space, as best as can be told.
const execution = /^(?:duration: ([0-9.]+) ms {2})?(?:statement: |execute (?!fetch from )[^\n]*?: )/;
// the end of something that ran; not the plan of auto_explain, which comes while it still runs
const duration = /^duration: [0-9.]+ ms(?:$| {2}(?:parse|bind|execute fetch from) )/;

/** Whether a record of severity LOG can say anything about statements, by the beginning of its message. */
export function mayTell(text: string, start: number): boolean {
  switch (text.charCodeAt(start)) {
    case 100:
      return text.startsWith('duration: ', start);
    case 115:
      return text.startsWith('statement: ', start);
    case 101:
      return text.startsWith('execute ', start);
    default:
      return false;
  }
}

/** Record → event. */
export function createEventReader(options: EventOptions = {}): (record: LogRecord) => LogEvent {
  const { database, sampling, parameterMaxLength } = options;
  return (record) => {
    if (database !== undefined && record.database !== '' && record.database !== database) return elsewhere;
    const { severity, message, session, detail } = record;
    if (severity !== 'LOG') {
      if (quiet.has(severity)) return other;
      if (!failures.has(severity)) return foreign;
      // while parsing or binding nothing has run yet; the line before is about an earlier statement
      if (record.commandTag === 'PARSE' || record.commandTag === 'BIND') return other;
      return { kind: 'failed', session, sql: record.statement, at: record.time.at };
    }
    if (!mayTell(message, 0)) return other;
    const found = execution.exec(message);
    if (!found) return duration.test(message) ? { kind: 'done', session, at: record.time.at } : other;
    const params = detail === null ? null : parseParameters(detail);
    const statement: ExecutedStatement = {
      at: record.time.at,
      database: record.database,
      user: record.user,
      pid: record.pid,
      session,
      applicationName: record.applicationName,
      sql: message.slice(found[0].length),
      params,
      truncated: params && truncatedAmong(params, parameterMaxLength),
      prepare: detail?.startsWith('prepare: ') ? detail.slice(9) : null,
      weight: sampling && found[1] !== undefined ? weightOf(Number(found[1]), sampling) : 1,
    };
    return { kind: 'statement', statement, done: found[1] !== undefined, zoneKnown: record.time.zoneKnown };
  };
}
