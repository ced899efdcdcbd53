import type { MigrationFile } from './config/migration-file.ts';
import type { Context } from './context.ts';
import { ForeshadowError } from './core/errors.ts';
import { countRows } from './db/catalog.ts';
import { requireSchema } from './db/migrate.ts';
import { requireReadableLog } from './logs/index.ts';
import { physicalPlan, preflight } from './migration/preflight/preflight.ts';
import { resume } from './migration/resume.ts';
import { isOver } from './migration/states.ts';
import { findMigration, insertMigration, type Migration } from './migration/status.store.ts';
import { describeMigration, type StatusDocument } from './migration/status.ts';
import { giveUp, outlast } from './pipeline/failure.ts';
import { Run, type RunOptions } from './pipeline/run.ts';
import * as step from './pipeline/steps.ts';

export type { PipelineEvent, RunOptions } from './pipeline/run.ts';

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
  const run = new Run(ctx, await plan(ctx, file, options), options);
  try {
    while (!reached(run)) await outlast(run, () => turn(run));
    if (run.migration.status === 'COMPLETED') await step.settle(run);
  } catch (error) {
    await giveUp(run, error);
  } finally {
    await run.close();
  }
  return describeMigration(ctx.pool, file.name);
}

/** PLANNED: looks at everything, touches nothing. A migration that exists already is taken up where it stands. */
export async function plan(ctx: Context, file: MigrationFile, options: RunOptions = {}): Promise<Migration> {
  await requireSchema(ctx.pool);
  const known = await findMigration(ctx.pool, file.name);
  if (known) return resume(ctx.pool, known, file);
  // before capture is installed: a path that is mistyped should cost nothing
  if (file.queryLog) await requireReadableLog(file.queryLog.path);
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
  run.options.signal?.throwIfAborted();
  run.lanes?.check();
  await advance(run);
  await run.ctx.clock.sleep(pulse, run.options.signal);
  await run.refresh();
}

/** Whatever the state asks for now. */
async function advance(run: Run): Promise<void> {
  const { cutover } = run.file;
  switch (run.migration.status) {
    case 'PLANNED':
      return step.begin(run);

    case 'SHADOWING':
      await run.startLanes();
      await step.observe(run);
      await step.train(run);
      await step.observe(run); // training takes seconds, in which the application went on
      await step.choose(run);
      return step.evaluate(run);

    case 'READY':
      await run.startLanes();
      if (cutover.reads === 'when-confident') return step.cutOverReadsNow(run);
      await step.observe(run);
      await step.choose(run);
      await step.evaluate(run);
      return step.awaitOperator(run, 'reads');

    case 'IN_PROGRESS':
      await run.startLanes();
      if (run.observation) await step.observe(run); // for the measured coverage; after a restart nothing needs it
      if (run.migration.phase === 'copy') return void (await step.copyRest(run));
      if (run.migration.phase === 'index') return step.finishIndexes(run);
      if (run.migration.phase === 'verify') return step.verifyAll(run);
      return cutover.writes === 'auto' ? step.cutOverWritesNow(run) : step.awaitOperator(run, 'writes');

    default:
      throw new ForeshadowError('CONFLICT', `migration ${run.migration.name} is ${run.migration.status}`);
  }
}

function reached(run: Run): boolean {
  const { status } = run.migration;
  return status === run.options.until || status === 'COMPLETED' || isOver(status);
}
