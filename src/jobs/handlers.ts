import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import { codeOf, isConnectionError, isRetryable } from '../db/sqlstate.ts';
import { findMigration, type Migration, recordOnce, updateStatus } from '../migration/status.store.ts';
import { isLease, type Lease, type Leases } from '../pipeline/leases.ts';
import type { PipelineEvent, Task } from '../pipeline/run.ts';
import { advanceMigration, performTask } from '../pipeline.ts';
import { boundSeconds, mayRun, standingJobs, standingKinds } from './kinds.ts';
import type { Lives } from './lives.ts';
import type { Fetched, JobQueue } from './queue.ts';

/** While the log has nothing new, it is looked at this often, in ms. */
const mineEvery = 150;
/** The same task is not asked for more often than this, in seconds. */
const delegateEvery = 1;

export interface Bench {
  readonly ctx: Context;
  readonly queue: JobQueue;
  readonly leases: Leases;
  readonly lives: Lives;
  /** aborted when this process is to stop */
  readonly stop: AbortSignal;
}

/** What came of a job, kept with it. */
export type Outcome =
  | { readonly outcome: 'done'; readonly seconds: number }
  | { readonly outcome: 'skipped'; readonly reason: string }
  /** needs a look; the migration's own row says more */
  | { readonly outcome: 'stopped'; readonly code: string; readonly reason: string };

/**
 * One bounded call of a pipeline step. Whether there is anything to do is asked of the status row, so a job that comes
 * twice, late, or for nothing does no harm.
 * @throws what may go away by itself, for the queue to try again
 */
export async function handle(bench: Bench, job: Fetched): Promise<Outcome> {
  const { ctx, leases } = bench;
  const migration = await findMigration(ctx.pool, job.migration);
  if (!migration) return { outcome: 'skipped', reason: 'there is no such migration any more' };
  if (!mayRun(migration, job.kind))
    return { outcome: 'skipped', reason: `the migration is ${migration.status}, phase ${migration.phase}` };
  const lease = await leases.take(migration.id, job.kind);
  if (!isLease(lease)) return { outcome: 'skipped', reason: `${lease.holder} is at it` };
  const began = ctx.clock.now();
  let outcome: Outcome;
  try {
    await work(bench, migration, job, lease);
    outcome = { outcome: 'done', seconds: Math.round((ctx.clock.now() - began) * 1000) / 1000 };
  } catch (error) {
    outcome = await explained(bench, migration, job, error);
  } finally {
    await lease.release();
  }
  // after a failure the reconciler sends it again, in seconds; at once it would only fail again
  if (outcome.outcome === 'done' || bench.stop.aborted) await goOn(bench, job);
  return outcome;
}

async function work(bench: Bench, migration: Migration, job: Fetched, lease: Lease): Promise<void> {
  const { ctx, lives, stop } = bench;
  const live = lives.of(migration);
  const signal = AbortSignal.any([stop, lease.signal]);
  if (job.kind === 'mine') return mine(bench, migration, signal);
  const options = { live, lease, signal, seconds: boundSeconds, onEvent: logged(bench, migration) };
  if (job.kind === 'migrate') {
    // Whoever has the lease takes the lanes: a process that lost it is dead or stopped, and its lanes are fenced.
    return advanceMigration(ctx, migration, {
      ...options,
      takeOver: true,
      delegate: sender(bench, migration),
    });
  }
  return performTask(ctx, migration, job.kind, { ...options, force: job.force });
}

/** Follows the query log for a while. */
async function mine({ ctx, lives }: Bench, migration: Migration, signal: AbortSignal): Promise<void> {
  const mining = await lives.of(migration).mining(migration);
  const until = ctx.clock.now() + boundSeconds;
  while (ctx.clock.now() < until && !signal.aborted) {
    const { behind, taken } = await mining.step();
    if (behind === 0 && taken === 0) await ctx.clock.sleep(mineEvery, signal).catch(() => undefined);
  }
  await mining.forget();
}

/** Asks for tasks instead of doing them; whoever is free does them, often this process. */
function sender({ ctx, queue }: Bench, { name }: Migration): (task: Task) => Promise<void> {
  const sent = new Map<Task, number>();
  return async (task) => {
    if (task === 'mine') return; // has a standing job
    const now = ctx.clock.now();
    if (now - (sent.get(task) ?? 0) < delegateEvery) return;
    sent.set(task, now);
    await queue.send(task, name);
  };
}

function logged({ ctx }: Bench, { name }: Migration): (event: PipelineEvent) => void {
  return (event) => {
    if (event.type === 'status') ctx.log.info({ migration: name, status: event.status }, 'migration moved');
    else if (event.type === 'step') ctx.log.debug({ migration: name, step: event.step }, 'step');
  };
}

/** @throws what the queue should try again */
async function explained(
  { ctx, stop }: Bench,
  migration: Migration,
  job: Fetched,
  error: unknown,
): Promise<Outcome> {
  const now = await findMigration(ctx.pool, migration.name).catch(() => null);
  if (stop.aborted) return { outcome: 'skipped', reason: 'this process is stopping' };
  const code = error instanceof ForeshadowError ? error.code : null;
  // somebody moved the migration under our hands: paused, aborted, or taken over
  if (
    code === 'ALREADY_RUNNING' ||
    code === 'INTERRUPTED' ||
    (now && (code === 'CONFLICT' || now.status !== migration.status) && code)
  )
    return { outcome: 'skipped', reason: (error as Error).message };
  const passing = isConnectionError(error) || isRetryable(error) || code === 'DATABASE_UNREACHABLE';
  if (code && !passing && code !== 'LOG_UNREADABLE' && code !== 'CUTOVER_BLOCKED')
    return { outcome: 'stopped', code, reason: (error as Error).message };
  if (now && !isConnectionError(error)) await sayFailing(ctx, now, job, error);
  throw error;
}

const failing: Readonly<Record<string, string>> = { mine: 'the query log cannot be mined' };

/** In the status, and once among the events: a job that fails again and again must not go unnoticed. */
async function sayFailing(ctx: Context, migration: Migration, job: Fetched, error: unknown): Promise<void> {
  const message = `${failing[job.kind] ?? `${job.kind} fails, and is tried again`}: ${publicReason(error).message}`;
  await updateStatus(ctx.pool, migration.id, { wait_reason: message });
  await recordOnce(ctx.pool, migration.id, 'warning', message);
}

/** What may be told of an error to whoever may look at jobs: PostgreSQL's own messages can hold values of rows. */
export function publicReason(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof ForeshadowError) return { code: error.code, message: error.message };
  const code = codeOf(error) ?? 'UNEXPECTED';
  return { code, message: `${code}; the log of the process that did it says more` };
}

/** A standing job sends its successor. */
async function goOn({ ctx, queue, stop }: Bench, job: Fetched): Promise<void> {
  if (!standingKinds.includes(job.kind)) return;
  const migration = await findMigration(ctx.pool, job.migration).catch(() => null);
  if (migration && standingJobs(migration).includes(job.kind) && (job.kind !== 'mine' || !stop.aborted))
    await queue.send(job.kind, job.migration).catch(() => null); // the reconciler will
}
