import { codeOf } from '../db/sqlstate.ts';

/**
 * What a log may say of an error. PostgreSQL's messages and details may hold values of rows, and its fields hold SQL:
 * of those only the place is told.
 */
export function loggable(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { type: typeof error };
  const fromDatabase = 'severity' in error && 'routine' in error;
  if (!fromDatabase)
    return { type: error.name, code: codeOf(error), message: error.message, stack: error.stack };
  const { code, routine, schema, table, constraint } = error as unknown as Record<string, unknown>;
  const stack = error.stack
    ?.split('\n')
    .filter((line) => /^\s+at /.test(line))
    .join('\n');
  return { type: 'DatabaseError', code, routine, schema, table, constraint, stack };
}
