import { isToBeAborted } from '../migration/states.ts';
import type { Migration } from '../migration/status.store.ts';

/** The kinds of jobs: the tasks of the pipeline, the stretch of work that holds the lanes, and putting everything back. */
export const jobKinds = ['mine', 'train', 'resample', 'evaluate', 'migrate', 'verify', 'abort'] as const;
export type JobKind = (typeof jobKinds)[number];

/** Kinds that a state asks for all the time; one that is done sends its successor. */
export const standingKinds: readonly JobKind[] = ['mine', 'migrate'];

/** Seconds that one call may take. Building an index cannot be cut and takes longer; its lease goes on meanwhile. */
export const boundSeconds = 45;

/** Jobs of a kind that one process does at a time. Training keeps a core busy. */
export const atOnce: Readonly<Record<JobKind, number>> = {
  mine: 8,
  train: 1,
  resample: 4,
  evaluate: 8,
  migrate: 8,
  verify: 4,
  abort: 4,
};

/**
 * What the state of a migration asks for all the time; from this the queue is rebuilt whenever something is missing.
 * Training, choosing, evaluating and verifying are sent by the stretch of work when they are due.
 */
export function standingJobs(migration: Migration): JobKind[] {
  const { status, definition, managed, orders, settled_at, physical } = migration;
  if (isToBeAborted(migration)) return ['abort'];
  if (!managed) return [];
  const { createdAt, updatedAt } = definition.signals;
  const mine: JobKind[] = definition.queryLog || createdAt || updatedAt ? ['mine'] : [];
  if (status === 'PAUSED') return mine;
  // the old table is kept in step for as long as the migration can be rolled back
  const windowOpen =
    status === 'COMPLETED' && (physical?.wayBack !== undefined || orders.finalize !== undefined);
  if (status === 'COMPLETED' || status === 'ROLLED_BACK') return windowOpen || !settled_at ? ['migrate'] : [];
  const atWork =
    status === 'PLANNED' || status === 'SHADOWING' || status === 'READY' || status === 'IN_PROGRESS';
  return atWork ? ['migrate', ...mine] : [];
}

/** Whether a job of this kind still has something to do. */
export function mayRun(migration: Migration, kind: JobKind): boolean {
  const { status, phase } = migration;
  if (kind === 'abort' || kind === 'migrate') return standingJobs(migration).includes(kind);
  if (kind === 'verify') return status === 'IN_PROGRESS' && (phase === 'verify' || phase === 'ready');
  if (kind === 'resample' || kind === 'evaluate') return status === 'SHADOWING' || status === 'READY';
  return ['PLANNED', 'SHADOWING', 'READY', 'IN_PROGRESS', 'PAUSED'].includes(status);
}
