import type { MigrationStatus } from '../core/states.ts';

/** Which state may follow which. FAILED and PAUSED remember where they came from and go back there only. */
const allowed: Readonly<Record<MigrationStatus, readonly MigrationStatus[]>> = {
  PLANNED: ['SHADOWING', 'ABORTED', 'FAILED', 'PAUSED'],
  SHADOWING: ['READY', 'PAUSED', 'ABORTED', 'FAILED'],
  READY: ['SHADOWING', 'IN_PROGRESS', 'PAUSED', 'ABORTED', 'FAILED'],
  IN_PROGRESS: ['COMPLETED', 'PAUSED', 'ABORTED', 'FAILED'],
  COMPLETED: ['FINALIZED', 'ROLLED_BACK'],
  FINALIZED: [],
  PAUSED: ['PLANNED', 'SHADOWING', 'READY', 'IN_PROGRESS', 'ABORTED', 'FAILED'],
  ABORTED: [],
  ROLLED_BACK: [],
  FAILED: ['PLANNED', 'SHADOWING', 'READY', 'IN_PROGRESS', 'ABORTED'],
};

export function mayFollow(from: MigrationStatus, to: MigrationStatus): boolean {
  return allowed[from].includes(to);
}

/** Nothing of ours is left to do, and the name may be used again only after uninstalling. */
export function isOver(status: MigrationStatus): boolean {
  return status === 'FINALIZED' || status === 'ABORTED' || status === 'ROLLED_BACK';
}

/** The source is still what the application writes, and abort puts everything back. */
export function mayAbort(status: MigrationStatus): boolean {
  return mayFollow(status, 'ABORTED');
}

/** Somebody has ordered it, and it is not too late. */
export const isToBeAborted = ({
  status,
  orders,
}: {
  readonly status: MigrationStatus;
  readonly orders: { readonly abort?: unknown };
}): boolean => orders.abort !== undefined && mayAbort(status);
