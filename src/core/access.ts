import type { KeyId } from './key.ts';

/** R: the application read the row. W: it inserted, changed or deleted it. */
export type AccessOp = 'R' | 'W';

/** One use of one row by the application. */
export interface Access {
  readonly key: KeyId;
  readonly op: AccessOp;
  /** seconds since the epoch (or since the start of a trace) */
  readonly at: number;
  /** how many real accesses this one stands for, when the log was sampled; 1 when absent */
  readonly weight?: number;
}
