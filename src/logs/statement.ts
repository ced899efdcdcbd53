/** One statement that the server executed, as its log tells it. */
export interface ExecutedStatement {
  /** seconds since the epoch, with the log's milliseconds */
  readonly at: number;
  readonly database: string;
  readonly user: string;
  readonly pid: number;
  /** the server's session id: unlike a pid, never used twice */
  readonly session: string;
  readonly applicationName: string;
  /** as sent; in the simple protocol it may hold several statements */
  readonly sql: string;
  /** one text per $n, in PostgreSQL's output format; null when the log gives none */
  readonly params: readonly (string | null)[] | null;
}

/** What a reader has seen so far. Nothing that a reader leaves out goes uncounted. */
export interface LogCounters {
  bytes: number;
  lines: number;
  /** lines that are not a log record: torn, overwritten, another format */
  malformed: number;
  /** statements handed out */
  executions: number;
  /** statements that the server logged before it ran them, and that then failed */
  failed: number;
  /** records whose time zone abbreviation is unknown, read as UTC */
  zoneGuessed: number;
}

export function newLogCounters(): LogCounters {
  return { bytes: 0, lines: 0, malformed: 0, executions: 0, failed: 0, zoneGuessed: 0 };
}
