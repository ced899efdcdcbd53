/** One record of a log, as tests make it up. */
export interface LogLine {
  /** milliseconds since the epoch */
  readonly at: number;
  readonly session: string;
  readonly pid: number;
  readonly user: string;
  readonly database: string;
  readonly application: string;
  readonly severity: string;
  readonly message: string;
  readonly detail?: string;
  readonly statement?: string;
}

export const linePrefix = '%m [%p] %c %q%u@%d/%a ';

/** The way PostgreSQL 18 writes a record, in each of its formats. */
export const writers = {
  jsonlog: (line: LogLine): string =>
    `${JSON.stringify({
      timestamp: timeOf(line),
      user: line.user,
      dbname: line.database,
      pid: line.pid,
      remote_host: '127.0.0.1',
      remote_port: 5,
      session_id: line.session,
      line_num: 3,
      ps: 'SELECT',
      session_start: '2026-05-01 12:00:00 UTC',
      vxid: '3/7',
      txid: 0,
      error_severity: line.severity,
      message: line.message,
      ...(line.detail !== undefined && { detail: line.detail }),
      ...(line.statement !== undefined && { statement: line.statement }),
      application_name: line.application,
      backend_type: 'client backend',
      query_id: 0,
    })}\n`,

  csvlog: (line: LogLine): string =>
    `${[
      timeOf(line),
      quoted(line.user),
      quoted(line.database),
      line.pid,
      quoted('127.0.0.1:5'),
      line.session,
      3,
      quoted('SELECT'),
      '2026-05-01 12:00:00 UTC',
      '3/7',
      0,
      line.severity,
      '00000',
      quoted(line.message),
      quoted(line.detail),
      '', // hint
      '', // internal query
      '',
      '', // context
      quoted(line.statement),
      '',
      '', // location
      quoted(line.application),
      quoted('client backend'),
      '', // leader pid
      0,
    ].join(',')}\n`,

  stderr: (line: LogLine): string => {
    const { pid, session, user, database, application } = line;
    const prefix = `${timeOf(line)} [${pid}] ${session} ${user}@${database}/${application} `;
    const section = (label: string, text: string | undefined) =>
      text === undefined ? '' : `${prefix}${label}:  ${text.replaceAll('\n', '\n\t')}\n`;
    return (
      section(line.severity, line.message) +
      section('DETAIL', line.detail) +
      section('STATEMENT', line.statement)
    );
  },
} as const;

export type WrittenFormat = keyof typeof writers;

const timeOf = ({ at }: LogLine): string =>
  `${new Date(at).toISOString().replace('T', ' ').slice(0, 23)} UTC`;
const quoted = (text: string | undefined): string =>
  text === undefined ? '' : `"${text.replaceAll('"', '""')}"`;

/** As the server writes parameters. */
export const parametersOf = (values: readonly (string | null)[]): string =>
  `Parameters: ${values.map((v, k) => `$${k + 1} = ${v === null ? 'NULL' : `'${v.replaceAll("'", "''")}'`}`).join(', ')}`;
