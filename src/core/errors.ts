/**
 * Every error that a user can meet, in one place: code → HTTP status, exit code, hint.
 * Exit codes: 1 unexpected, 2 usage, 3 refused, 4 not initialised, 5 conflict, 6 database unreachable,
 * 7 needs a human (never retried), 130 interrupted.
 */
export const catalogue = {
  UNEXPECTED: { http: 500, exit: 1, hint: 'This is a bug. Please report it with the log lines around it.' },
  USAGE: { http: 400, exit: 2, hint: 'Run the command with --help to see what it takes.' },
  BAD_CONFIG: { http: 400, exit: 2, hint: 'Mend the setting that the message names.' },
  BAD_MIGRATION_FILE: {
    http: 400,
    exit: 2,
    hint: 'Mend the field that the message names; docs/migration-file.md describes them all.',
  },
  MIGRATION_UNKNOWN: { http: 404, exit: 2, hint: 'List the migrations with: foreshadow status' },
  LOG_UNREADABLE: { http: 400, exit: 2, hint: 'Check queryLog.path and that this user may read the files.' },
  LOG_FORMAT: {
    http: 422,
    exit: 2,
    hint: "Say queryLog.format (csvlog, jsonlog or stderr), and for stderr queryLog.linePrefix, as SHOW log_line_prefix prints it. Messages must be English: lc_messages = 'C'.",
  },
  MODEL_REFUSED: { http: 409, exit: 3, hint: 'Train a new model with: foreshadow train' },
  SNAPSHOT_REFUSED: {
    http: 409,
    exit: 3,
    hint: 'Delete the snapshot. What it held is learnt from the log again.',
  },
  NO_KEY: {
    http: 422,
    exit: 3,
    hint: 'Name a primary key, or a unique, not-null, non-partial, non-deferrable index, in "key".',
  },
  SOURCE_MISSING: { http: 422, exit: 3, hint: 'Create the table, or correct "source" (schema.table).' },
  TARGET_MISSING: {
    http: 422,
    exit: 3,
    hint: 'Create the empty target table with your own migration tool first.',
  },
  TARGET_NOT_EMPTY: { http: 422, exit: 3, hint: 'Empty the target table, or name another one.' },
  TARGET_UNMAPPED: {
    http: 422,
    exit: 3,
    hint: 'Give the column a map expression (NULL::type will do where it may be null) or a default.',
  },
  MAP_INVALID: {
    http: 422,
    exit: 3,
    hint: 'Mend the expression in "map"; it is one SQL expression over one source row.',
  },
  MAP_NOT_IMMUTABLE: {
    http: 422,
    exit: 3,
    hint: "Use an immutable form, such as: ts at time zone 'UTC'. The target must not depend on who computes it.",
  },
  MAP_FAILS: {
    http: 422,
    exit: 3,
    hint: 'Mend the expression, or the rows that the message names. The source was not changed.',
  },
  DEPENDENT_REFUSED: {
    http: 422,
    exit: 3,
    hint: 'Drop or move the named object first; foreshadow cannot carry it to the target yet.',
  },
  PRIVILEGE: {
    http: 422,
    exit: 3,
    hint: 'Grant what the message names; docs/what-it-changes.md lists the least grants.',
  },
  DISK: {
    http: 507,
    exit: 3,
    hint: 'Free space on the database server, or tell the true figure with --disk-free BYTES.',
  },
  GATE_SHUT: { http: 409, exit: 3, hint: 'The gate says what is missing; see: foreshadow status NAME' },
  CUTOVER_BLOCKED: {
    http: 409,
    exit: 3,
    hint: 'Let the named sessions end, or say --terminate-blockers, then try again. Nothing was changed.',
  },
  NO_WAY_BACK: {
    http: 409,
    exit: 3,
    hint: 'Complete "back" in the migration file before a migration begins; doctor says what is missing.',
  },
  CHECK_RED: { http: 422, exit: 3, hint: 'Mend what the failed checks name.' },
  NOT_INITIALISED: { http: 409, exit: 4, hint: 'Run: foreshadow init' },
  CONFLICT: { http: 409, exit: 5, hint: 'Another process got there first; look at: foreshadow status' },
  ALREADY_RUNNING: {
    http: 409,
    exit: 5,
    hint: 'Stop the other process, or wait: its lanes are taken over when it is gone.',
  },
  SCHEMA_CHANGED: {
    http: 409,
    exit: 5,
    hint: 'Undo the change or abort the migration; run it again to go on.',
  },
  TRUNCATE_REFUSED: { http: 409, exit: 5, hint: 'Delete rows instead, or abort the migration first.' },
  DATABASE_UNREACHABLE: {
    http: 503,
    exit: 6,
    hint: 'Check DATABASE_URL and that the server accepts connections.',
  },
  POOLED_CONNECTION: {
    http: 422,
    exit: 3,
    hint: 'Connect to PostgreSQL itself, or to a pooler in session mode that passes "options" on. The application may keep its pooler.',
  },
  EMBEDDED_FAILED: { http: 500, exit: 6, hint: 'Set DATABASE_URL to use a PostgreSQL of your own.' },
  VERIFICATION_FAILED: {
    http: 409,
    exit: 7,
    hint: 'The listed keys differ for a reason that copying again did not mend. The source is untouched.',
  },
  UNIQUE_VIOLATED: {
    http: 409,
    exit: 7,
    hint: 'The listed rows break a unique index of the target. Mend them in the source, or drop the index.',
  },
  CAPTURE_BROKEN: {
    http: 409,
    exit: 7,
    hint: 'The capture trigger was disabled, dropped or replaced; changes may be lost. Abort and start again.',
  },
  INTERRUPTED: { http: 503, exit: 130, hint: 'Run the same command again to go on.' },
} as const satisfies Record<string, { http: number; exit: number; hint: string }>;

export type ErrorCode = keyof typeof catalogue;

/** The one error class of this project. `detail` is machine-readable and never holds row values beyond keys. */
export class ForeshadowError extends Error {
  readonly code: ErrorCode;
  readonly detail: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    detail: Record<string, unknown> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'ForeshadowError';
    this.code = code;
    this.detail = detail;
  }

  get hint(): string {
    return catalogue[this.code].hint;
  }
  get exitCode(): number {
    return catalogue[this.code].exit;
  }
  get httpStatus(): number {
    return catalogue[this.code].http;
  }
  /** A human must look: no loop of ours tries again by itself. */
  get needsHuman(): boolean {
    return catalogue[this.code].exit === 7;
  }
}
