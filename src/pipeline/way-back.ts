import { changePlaces } from '../migration/cutover/writes.ts';
import { fulfilOrder } from '../migration/orders.ts';
import { updateStatus } from '../migration/status.store.ts';
import { type Finalized, finalize } from '../migration/way-back/finalize.ts';
import { rollbackExchange } from '../migration/way-back/rollback.ts';
import { requireWayBack } from '../migration/way-back/state.ts';
import { backlog } from '../sync/lane.queries.ts';
import type { Run } from './run.ts';
import { settle } from './steps.ts';

/** With more changes than this to be brought, nobody is held back for the rollback yet. */
const mostBacklog = 1000;

/** COMPLETED, and it can be rolled back: the lanes of the way back go on, and say when they could do so again. */
export async function keepOldTable(run: Run): Promise<void> {
  const { ctx, migration } = run;
  const plan = migration.physical?.wayBack?.plan;
  if (!plan) return;
  await run.startLanes();
  if (migration.error && (await backlog(ctx.pool, plan)) === 0)
    await updateStatus(ctx.pool, migration.id, { error: null, wait_reason: null });
}

/**
 * COMPLETED → ROLLED_BACK. The old table is brought up to date first, by the lanes of whoever keeps it in step, or ours.
 * @param terminateFor who wants the sessions ended that stand in the way; otherwise the order says it
 * @throws ForeshadowError NO_WAY_BACK, before anything is touched
 */
export async function rollBackNow(run: Run, maxAttempts: number, terminateFor?: string): Promise<void> {
  const { ctx } = run;
  const plan = requireWayBack(await run.refresh());
  run.emit({ type: 'step', step: 'rolling back', at: run.at });
  await lanesAtWork(run);
  await settle(run);
  if (!run.migration.settled_at) return; // the time of this stretch was up
  for (
    let behind = await backlog(ctx.pool, plan);
    behind > mostBacklog;
    behind = await backlog(ctx.pool, plan)
  ) {
    run.checkTime();
    await run.wait(`bringing ${behind} changes to the old table before the rollback`);
    await lanesAtWork(run);
    await ctx.clock.sleep(200, run.options.signal);
  }
  const exchange = await rollbackExchange(ctx.pool, run.migration);
  const rolledBack = await changePlaces(exchange, {
    pool: ctx.pool,
    connect: () => ctx.connect('rollback'),
    clock: ctx.clock,
    maxAttempts,
    ...(run.options.signal ? { signal: run.options.signal } : {}),
    onWait: async (reason) => {
      await run.requireAtWork();
      await lanesAtWork(run);
      await run.wait(reason);
    },
    terminateFor: ({ orders }) => terminateFor ?? orders.rollback?.terminate_blockers ?? null,
  });
  await fulfilOrder(ctx.pool, rolledBack.id, 'rollback');
  run.moved(rolledBack);
  await settle(run);
}

/** Somebody has to bring the last changes: whoever has the migration in hand, else this process. */
async function lanesAtWork(run: Run): Promise<void> {
  if (run.lanes || (await run.tryHold())) return;
  // lanes of a process that has it no longer are those of a dead or a stopped one
  await run.startLanes(true);
}

/** COMPLETED → FINALIZED. */
export async function finalizeNow(run: Run, dropOld: boolean): Promise<Finalized> {
  const { ctx, migration } = run;
  run.emit({ type: 'step', step: 'finalizing', at: run.at });
  if (migration.status === 'COMPLETED') {
    await settle(run);
    if (!run.migration.settled_at) run.checkTime(); // the next stretch goes on
  }
  const finalized = await finalize(ctx.pool, migration.name, { clock: ctx.clock, dropOld });
  await fulfilOrder(ctx.pool, migration.id, 'finalize');
  run.moved(finalized.migration);
  return finalized;
}
