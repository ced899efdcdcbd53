/** SQLSTATEs that this project decides on. https://www.postgresql.org/docs/current/errcodes-appendix.html */
export const sqlstate = {
  uniqueViolation: '23505',
  serializationFailure: '40001',
  deadlockDetected: '40P01',
  lockNotAvailable: '55P03',
  objectInUse: '55006',
  queryCanceled: '57014',
  adminShutdown: '57P01',
  crashShutdown: '57P02',
  cannotConnectNow: '57P03',
  idleInTransactionTimeout: '25P03',
  undefinedTable: '42P01',
  undefinedColumn: '42703',
  undefinedFunction: '42883',
  insufficientPrivilege: '42501',
  duplicateTable: '42P07',
  duplicateObject: '42710',
  undefinedObject: '42704',
  dependentObjects: '2BP01',
  invalidSchemaName: '3F000',
  featureNotSupported: '0A000',
} as const;

/** The SQLSTATE of an error thrown by pg, or the system's code (ECONNREFUSED …), or undefined. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

const connectionLost = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOTFOUND',
  'ETIMEDOUT',
  'ENOENT',
  sqlstate.adminShutdown,
  sqlstate.crashShutdown,
  sqlstate.cannotConnectNow,
]);

/** The connection is gone or could not be made; another one may work. */
export function isConnectionError(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined) return connectionLost.has(code) || code.startsWith('08');
  const message = error instanceof Error ? error.message : '';
  return /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed/i.test(
    message,
  );
}

/** Nothing happened, and the same transaction may succeed if run again. */
export function isRetryable(error: unknown): boolean {
  const code = codeOf(error);
  return (
    code === sqlstate.serializationFailure ||
    code === sqlstate.deadlockDetected ||
    code === sqlstate.lockNotAvailable ||
    code === sqlstate.idleInTransactionTimeout ||
    isConnectionError(error)
  );
}

/** A statement was written for names that are no longer there, or no longer free; written anew it may succeed. */
export function isStaleName(error: unknown): boolean {
  const { duplicateTable, duplicateObject, undefinedObject, undefinedTable } = sqlstate;
  const stale: readonly string[] = [duplicateTable, duplicateObject, undefinedObject, undefinedTable];
  return stale.includes(codeOf(error) ?? '');
}
