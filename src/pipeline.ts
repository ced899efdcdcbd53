import { isDeepStrictEqual } from 'node:util';
import type { MigrationFile } from './config/migration-file.ts';
import type { Context } from './context.ts';
import { ForeshadowError } from './core/errors.ts';
import { countRows } from './db/catalog.ts';
import { requireSchema } from './db/migrate.ts';
import { requireReadableLog } from './logs/index.ts';
import { indexesCame } from './migration/finish-target.ts';
import { physicalPlan, preflight } from './migration/preflight/preflight.ts';
import { resume } from './migration/resume.ts';
import { isOver, isToBeAborted } from './migration/states.ts';
import {
  findMigration,
  getMigration,
  insertMigration,
  type Migration,
  type Order,
  updateStatus,
} from './migration/status.store.ts';
import { describeMigration, type StatusDocument } from './migration/status.ts';
import type { Finalized } from './migration/way-back/finalize.ts';
import { requireWayBack, wayBackOf } from './migration/way-back/state.ts';
import { giveUp, outlast } from './pipeline/failure.ts';
import { requireKeySecret } from './pipeline/hashed-keys.ts';
import { Run, type RunOptions, type Task } from './pipeline/run.ts';
import * as step from './pipeline/steps.ts';
import * as wayBack from './pipeline/way-back.ts';

export type { PipelineEvent, RunOptions } from './pipeline/run.ts';

/** Tries to change the tables' places, for whoever is in no hurry. */
const maxAttempts = 1000;
/** How often the main loop looks at the status row, in ms. Lanes work on their own all the while. */
const pulse = 200;

/**
 * Moves one live table into its new format, from wherever an earlier process left it.
 *
 *   logs → accesses → features → model → sampler → shadow → confidence → migration
 *
 * The status row decides what is next; every step may be repeated; the process may be killed at any line.
 */
export async function runMigration(
  ctx: Context,
  file: MigrationFile,
  options: RunOptions = {},
): Promise<StatusDocument> {
  await work(new Run(ctx, await plan(ctx, file, options), options));
  return describeMigration(ctx.pool, file.name);
}

/**
 * Plans a migration and leaves the work to the job runner of the service. May be repeated with the same file.
 * @throws ForeshadowError CONFLICT when the name is taken by another migration; whatever preflight refuses
 */
export async function startMigration(ctx: Context, file: MigrationFile): Promise<Migration> {
  await requireSchema(ctx.pool);
  const known = await findMigration(ctx.pool, file.name);
  if (known && !isDeepStrictEqual(known.definition, file))
    throw new ForeshadowError(
      'CONFLICT',
      `a migration called ${file.name} exists already, with another definition`,
    );
  const migration = known ?? (await plan(ctx, file));
  if (!isOver(migration.status)) await updateStatus(ctx.pool, migration.id, { managed: true });
  return getMigration(ctx.pool, file.name);
}

/** One stretch of the same work, for `options.seconds`; the migration is left where any process may go on. */
export async function advanceMigration(
  ctx: Context,
  migration: Migration,
  options: RunOptions,
): Promise<void> {
  await work(new Run(ctx, migration, options));
}

/** One task of it, which needs no lanes: when it is due, or at once by `force`. */
export async function performTask(
  ctx: Context,
  migration: Migration,
  task: Task | 'abort',
  options: RunOptions & { readonly force?: boolean },
): Promise<void> {
  const run = new Run(ctx, migration, options);
  try {
    if (task === 'abort') await step.abort(run);
    else if (options.force) await step.taskSteps[task](run);
    else await step.perform(run, task);
  } catch (error) {
    await giveUp(run, error);
  } finally {
    await run.close();
  }
}

/**
 * Takes the write cutover back, in this process. May be repeated: what an earlier one left undone is done.
 * `terminateFor`: who wants sessions ended that are in the way of several attempts; by default none is.
 * @throws ForeshadowError NO_WAY_BACK before anything is touched; CUTOVER_BLOCKED after `attempts`
 */
export async function rollBackMigration(
  ctx: Context,
  name: string,
  options: RunOptions & { readonly attempts: number; readonly terminateFor?: string },
): Promise<void> {
  const run = new Run(ctx, await getMigration(ctx.pool, name), options);
  if (run.migration.status !== 'ROLLED_BACK') requireWayBack(run.migration);
  await upTo(run, () =>
    run.migration.status === 'ROLLED_BACK'
      ? step.settle(run)
      : wayBack.rollBackNow(run, options.attempts, options.terminateFor),
  );
}

/** Ends the time in which a migration can be rolled back. May be repeated, to drop the old table later. */
export async function finalizeMigration(
  ctx: Context,
  name: string,
  options: RunOptions & { readonly dropOld: boolean },
): Promise<Finalized> {
  const run = new Run(ctx, await getMigration(ctx.pool, name), options);
  return upTo(run, () => wayBack.finalizeNow(run, options.dropOld));
}

async function upTo<T>(run: Run, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await giveUp(run, error);
    throw error;
  } finally {
    await run.close();
  }
}

async function work(run: Run): Promise<void> {
  try {
    await run.hold();
    while (!reached(run)) await outlast(run, () => turn(run));
    const { status } = run.migration;
    if (status === 'COMPLETED' || (status === 'ROLLED_BACK' && run.options.seconds !== undefined))
      await step.settle(run);
  } catch (error) {
    await giveUp(run, error);
  } finally {
    await run.close();
  }
}

/** PLANNED: looks at everything, touches nothing. A migration that exists already is taken up where it stands. */
export async function plan(ctx: Context, file: MigrationFile, options: RunOptions = {}): Promise<Migration> {
  await requireSchema(ctx.pool);
  const known = await findMigration(ctx.pool, file.name);
  if (known) return resume(ctx.pool, known, file);
  // before capture is installed: a path that is mistyped should cost nothing
  if (file.queryLog?.hashKeys) requireKeySecret(ctx);
  if (file.queryLog) await requireReadableLog(file.queryLog.path, file.queryLog);
  const { error, draft, source, target } = await preflight(
    ctx.pool,
    file,
    options.diskFree === undefined ? {} : { diskFree: options.diskFree },
  );
  if (error) throw error;
  if (!draft || !source || !target) throw new Error('unreachable: a preflight without error has a draft');
  const planOf = (id: number) => physicalPlan(draft, id, source, target);
  return insertMigration(
    ctx.pool,
    file,
    { source: source.oid, target: target.oid },
    planOf,
    await countRows(ctx.pool, source),
  );
}

async function turn(run: Run): Promise<void> {
  run.check();
  await step.watchHealth(run);
  try {
    await advance(run);
  } catch (error) {
    // in the middle of a long step: whoever has paused it may let it go on
    if (!(await step.pausedMeanwhile(run, error))) throw error;
  }
  await run.ctx.clock.sleep(pulse, run.options.signal);
  await run.refresh();
}

/** Whatever the state asks for now. */
async function advance(run: Run): Promise<void> {
  const { migration, file } = run;
  const ordered = (order: Order) => migration.orders[order] !== undefined;
  switch (migration.status) {
    case 'PLANNED':
      return step.begin(run);

    case 'SHADOWING':
      await run.startLanes();
      return keepShadow(run);

    case 'READY':
      await run.startLanes();
      if (file.cutover.reads === 'when-confident' || ordered('cutover-reads'))
        return step.cutOverReadsNow(run);
      await keepShadow(run);
      return step.awaitOperator(run, 'reads');

    case 'IN_PROGRESS':
      await run.startLanes();
      await step.follow(run);
      if (migration.phase === 'copy') return void (await step.copyRest(run));
      if (migration.phase === 'index') return step.finishIndexes(run);
      if (migration.phase === 'verify') return step.perform(run, 'verify');
      return cutOverOrWait(run, file.cutover.writes === 'auto' || ordered('cutover-writes'));

    case 'COMPLETED':
      await wayBack.keepOldTable(run);
      if (ordered('rollback')) return wayBack.rollBackNow(run, maxAttempts);
      if (ordered('finalize'))
        return void (await wayBack.finalizeNow(run, migration.orders.finalize?.drop_old === true));
      return step.settle(run, false);

    case 'PAUSED':
      if (!migration.error) return step.rest(run);
      break;
  }
  throw new ForeshadowError('CONFLICT', `migration ${migration.name} is ${migration.status}`);
}

/** All is copied and verified; unless S was given an index meanwhile. */
async function cutOverOrWait(run: Run, now: boolean): Promise<void> {
  if ((now || run.due('late indexes', 2)) && (await indexesCame(run.ctx.pool, run.migration))) return;
  return now ? step.cutOverWritesNow(run) : step.awaitOperator(run, 'writes');
}

/** Logs → features → model → shadow → confidence, each part when it is due. */
async function keepShadow(run: Run): Promise<void> {
  await step.watchLag(run);
  await step.perform(run, 'mine');
  if (!(await step.mined(run))) return;
  await step.perform(run, 'train');
  await step.perform(run, 'mine'); // training takes seconds, in which the application went on
  await step.perform(run, 'resample');
  await step.perform(run, 'evaluate');
}

function reached(run: Run): boolean {
  const { status } = run.migration;
  // a stretch ends where somebody has paused it; a run in the foreground waits for the end of the pause
  const stopped = status === 'PAUSED' || status === 'FAILED' || isToBeAborted(run.migration);
  const paused = run.options.seconds !== undefined && stopped;
  return status === run.options.until || isOver(status) || paused || run.over || completed(run);
}

/** The old table is kept in step by the job runner, or by a run that was told to stay. */
function completed({ migration, options }: Run): boolean {
  if (migration.status !== 'COMPLETED') return false;
  if (options.seconds !== undefined && migration.orders.finalize) return false;
  const stays = options.seconds !== undefined || options.stay === true;
  return !stays || !wayBackOf(migration).open;
}
