/** Where an operation was served. */
export type Served = 'source' | 'overlay' | 'target';
export type OperationKind = 'read' | 'insert' | 'update' | 'delete';
/** `unknown`: the connection was lost before the answer came. `stale`: the answer was not what the application had committed. */
export type Outcome = 'ok' | 'error' | 'unknown' | 'stale';

/** One operation of the application, as it was for whoever asked for it. */
export interface OperationRecord {
  /** when it should have begun, seconds since the epoch */
  readonly at: number;
  readonly kind: OperationKind;
  readonly served: Served;
  /** from when it should have begun to the answer, waiting for a connection and retries included */
  readonly ms: number;
  readonly outcome: Outcome;
  /** how often it was sent again, after the server had asked for that */
  readonly retries: number;
  /** keys as PostgreSQL prints them; none for an insert without an answer */
  readonly ids: readonly (number | string)[];
}

/** A line of the record: `1722945600.123,read,source,1.52,ok,0,17 18 19` */
export function formatRecord({ at, kind, served, ms, outcome, retries, ids }: OperationRecord): string {
  return `${at.toFixed(3)},${kind},${served},${ms.toFixed(2)},${outcome},${retries},${ids.join(' ')}\n`;
}

/** @throws SyntaxError for a line that {@link formatRecord} has not written */
export function parseRecord(line: string): OperationRecord {
  const [at, kind, served, ms, outcome, retries, ids] = line.split(',');
  if (ids === undefined) throw new SyntaxError(`not a record of an operation: ${line}`);
  return {
    at: Number(at),
    kind: kind as OperationKind,
    served: served as Served,
    ms: Number(ms),
    outcome: outcome as Outcome,
    retries: Number(retries),
    ids: ids === '' ? [] : ids.split(' '),
  };
}
