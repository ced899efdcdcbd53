/** One statement that the server executed, as its log tells it. */
export interface ExecutedStatement {
  /** seconds since the epoch, with the log's milliseconds */
  readonly at: number;
  /** empty when the log does not tell: a `log_line_prefix` without %d */
  readonly database: string;
  readonly user: string;
  readonly pid: number;
  /** the server's session id: unlike a pid, never used twice. The pid where the log has no better */
  readonly session: string;
  readonly applicationName: string;
  /** as sent; in the simple protocol it may hold several statements */
  readonly sql: string;
  /** one text per $n, in PostgreSQL's output format; null when the log gives none */
  readonly params: readonly (string | null)[] | null;
  /** positions in `params`, from 0, of values that `log_parameter_max_length` has cut, or may have; null without any */
  readonly truncated: readonly number[] | null;
  /** the PREPARE behind an EXECUTE of the SQL language, where the log gives it */
  readonly prepare: string | null;
  /** how many executions this one stands for: 1 divided by the chance that it had to be logged (see samplingOf) */
  readonly weight: number;
}

/** What a reader has seen so far. Nothing that a reader leaves out goes uncounted. */
export interface LogCounters {
  /** of the log, after unpacking */
  bytes: number;
  /** newlines, and a last line without one */
  lines: number;
  /** lines that are not part of a log record: torn, overwritten, another format */
  malformed: number;
  /** statements handed out */
  executions: number;
  /** statements that the server logged before it ran them, and that then failed */
  failed: number;
  /** records of other databases, where only one was asked for */
  elsewhere: number;
  /** records whose severity is no English word: `lc_messages` has to be C or English */
  foreign: number;
  /** records whose time zone abbreviation is unknown, read as UTC */
  zoneGuessed: number;
  /** compressed files that end too early */
  cutFiles: number;
  /** files left out because the server has written the same in a format that tells more */
  duplicateFiles: number;
}

export function newLogCounters(): LogCounters {
  return {
    bytes: 0,
    lines: 0,
    malformed: 0,
    executions: 0,
    failed: 0,
    elsewhere: 0,
    foreign: 0,
    zoneGuessed: 0,
    cutFiles: 0,
    duplicateFiles: 0,
  };
}
