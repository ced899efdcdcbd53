import { miningState } from '../access/store.queries.ts';
import { seconds } from '../config/migration-file.ts';
import { ForeshadowError } from '../core/errors.ts';
import { abort as takeBack } from '../migration/abort.ts';
import { beginShadowing } from '../migration/begin.ts';
import { cutOverReads } from '../migration/cutover/reads.ts';
import { cutOverWrites } from '../migration/cutover/writes.ts';
import { finishTarget, settleTarget } from '../migration/finish-target.ts';
import { recordWarnings } from '../migration/health.queries.ts';
import { fulfilOrder } from '../migration/orders.ts';
import {
  databaseNow,
  getMigration,
  type Migration,
  moveStatus,
  updateStatus,
} from '../migration/status.store.ts';
import { tend } from '../migration/tend.ts';
import {
  beginVerification,
  requireEqual,
  type VerificationProgress,
  verificationOf,
  verifyNext,
} from '../migration/verify.ts';
import { Coverage, type Rival, type Selection } from '../shadow/coverage.ts';
import { MemberSet } from '../shadow/member-set.ts';
import { forgetChanges } from '../shadow/wanted.queries.ts';
import { copyProgress } from '../sync/lane.queries.ts';
import {
  choiceIsDue,
  chooseShadow,
  fillRandom,
  heatRanges,
  lookNow,
  type Sampling,
  sizeIsNew,
} from './choice.ts';
import { compareSpeed } from './compare-speed.ts';
import { estimate, estimateAfterwards, lookUp } from './estimate.ts';
import { learn, trainingIsDue } from './learning.ts';
import { coverageColumn, evaluationIsDue, lagNow, measure } from './measurement.ts';
import type { Run, Task } from './run.ts';
import { noteDrift } from './trials.ts';

/** How long readers of the overlay have to hear of the route back to the source, in seconds. */
const abortGrace = 2;
/** Captured changes older than this many seconds are forgotten. */
const changesKept = 3600;

/** PLANNED → SHADOWING: capture, overlay, our tables. */
export async function begin(run: Run): Promise<void> {
  const { ctx, file } = run;
  run.emit({ type: 'step', step: 'installing capture and overlay', at: run.at });
  const moved = await beginShadowing(ctx.pool, run.migration, {
    lanes: file.copy.lanes,
    clock: ctx.clock,
    onWait: (reason) => run.wait(reason),
  });
  run.moved(moved);
}

/** Does a task here, or hands it over, when it is due. */
export async function perform(run: Run, task: Task): Promise<void> {
  if (!isDue(run, task)) return;
  if (run.options.delegate) return run.options.delegate(task);
  await taskSteps[task](run);
  if (task !== 'mine') await run.refresh();
}

function isDue(run: Run, task: Task): boolean {
  const { migration, at } = run;
  if (task === 'train') return trainingIsDue(migration, at);
  if (task === 'resample') return choiceIsDue(migration, at);
  if (task === 'evaluate') return evaluationIsDue(migration, at);
  return true;
}

/** Keeps up with the application, for the measured coverage of the frozen shadow; after a restart nothing needs it. */
export async function follow(run: Run): Promise<void> {
  if (!run.live.coverage) return;
  await perform(run, 'mine');
  await run.live.follow(run.migration);
}

/** Query log → accesses → access store: to the end of the log. */
export async function mine(run: Run): Promise<void> {
  const mining = await run.live.mining(run.migration);
  for (let first = true; ; first = false) {
    const { behind } = await mining.step();
    if (behind === 0 || run.over) break;
    if (first && run.due('say mining', 10))
      run.emit({ type: 'step', step: 'mining the query log', at: run.at });
    run.check();
  }
  if (run.due('forget accesses', 60)) await mining.forget();
}

/** Whether the log has been read to its end once; before that, learning and choosing would rest on its beginning. */
export async function mined(run: Run): Promise<boolean> {
  const state = await miningState(run.ctx.pool, run.migration.id);
  if (!run.file.queryLog || state?.caughtUp) return true;
  const left = state?.behindBytes;
  await run.wait(`mining the query log${left ? `: ${Math.ceil(left / 1e6)} MB to go` : ''}`);
  return false;
}

/** Accesses → features → model. */
export async function train(run: Run): Promise<void> {
  run.emit({ type: 'step', step: 'training', at: run.at });
  const learnt = await learn(run.ctx, run.migration);
  if (learnt) run.live.adopt(learnt.version, learnt.predictor);
}

/** Model → sampler → shadow: which rows, and the orders to the lanes. */
export async function resample(run: Run): Promise<void> {
  const { ctx, live } = run;
  run.emit({ type: 'step', step: 'choosing the shadow', at: run.at });
  const observation = await live.follow(run.migration);
  await noteDrift(ctx, run.migration, live.trials);
  live.choice = await live.withPredictor((predictor) =>
    chooseShadow(ctx, run.migration, observation, predictor),
  );
  await run.refresh();
  await fillRandom(ctx, run.migration, () => run.check());
  await run.refresh();
  await live.measureCoverage(run.migration);
  // without a query log they are all there is to learn from
  const kept = run.file.queryLog ? changesKept : Math.max(changesKept, 8 * seconds(run.file.predict.horizon));
  await forgetChanges(ctx.pool, run.migration.plan, run.at - kept);
}

/** Shadow → confidence → gate. */
export async function evaluate(run: Run): Promise<void> {
  const { ctx, live } = run;
  if ((run.migration.sampling as Sampling).chosen_at === undefined || sizeIsNew(run.migration)) return;
  await live.follow(run.migration);
  await live.measureCoverage(run.migration);
  const { gate, known } = await measure(ctx, run.migration, run.lanes, live.coverage, live.known);
  live.known = known;
  await run.refresh();
  if (!gate) return;
  if (!gate.open) run.emit({ type: 'wait', reason: gate.reasons[0] ?? '', at: run.at });
  const { status } = run.migration;
  if (gate.open && status === 'SHADOWING') {
    run.moved(
      await moveStatus(ctx.pool, run.migration, status, 'READY', {
        ready_at: databaseNow,
        wait_reason: null,
      }),
    );
  } else if (!gate.open && status === 'READY') {
    run.moved(await moveStatus(ctx.pool, run.migration, status, 'SHADOWING', { ready_at: null }));
    await fulfilOrder(ctx.pool, run.migration.id, 'cutover-reads'); // it was given for an open gate
  }
}

/** Writes down how late the lanes are, for whoever evaluates. */
export async function watchLag(run: Run): Promise<void> {
  if (!run.lanes || !run.due('lag', 1)) return;
  await updateStatus(run.ctx.pool, run.migration.id, {
    lag: await lagNow(run.ctx, run.migration, run.lanes),
    ...throttleColumn(run),
  });
}

const throttleColumn = ({ throttle }: Run) => (throttle ? { throttle_state: throttle.state } : {});

/** Says what is not wrong yet: a key log that grows, snapshots that keep its dead rows. */
export async function watchHealth(run: Run): Promise<void> {
  if (!run.due('health', 2)) return;
  for (const message of await recordWarnings(run.ctx.pool, run.migration))
    run.emit({ type: 'warning', message, at: run.at });
}

/** Members that are read whole once, at the cutover: whoever is told of it may ask about any key, long after they are gone. */
const mostKept = 1_000_000;

/** READY → IN_PROGRESS: the route changes, membership freezes, the copy begins where it is hottest. */
export async function cutOverReadsNow(run: Run): Promise<void> {
  const { ctx, migration, live } = run;
  const { plan } = migration;
  const observation = await live.follow(migration);
  const own = live.choice?.chosenAt === (migration.sampling as Sampling).chosen_at ? live.choice : null;
  const choice =
    own ?? (await live.withPredictor((predictor) => lookNow(ctx, migration, observation, predictor)));
  await heatRanges(ctx, migration, choice.signals);
  run.throttle?.beginGently();
  run.moved(await cutOverReads(ctx.pool, migration));
  await fulfilOrder(ctx.pool, migration.id, 'cutover-reads');
  const present = await MemberSet.take(ctx.pool, plan, ['present', 'leaving'], mostKept);
  const admitted = live.admittedSince(choice.at);
  const sets = new Map<Rival, Selection>([['shadow', present]]);
  for (const [name, chosen] of choice.rivals(Math.max(1, present.size - admitted.size))) {
    sets.set(name, { size: present.size, has: (key) => chosen.has(key) || admitted.has(key) });
  }
  live.coverage = new Coverage(run.at, present.size, sets);
  run.emit({ type: 'reads-cut-over', at: run.at, chosenAt: choice.at, budget: present.size, sets });
}

/** Follows the copy. @returns whether every range is done */
export async function copyRest(run: Run): Promise<boolean> {
  const { ctx, migration } = run;
  const { done, copied } = await copyProgress(ctx.pool, migration.plan);
  // a guess of the server's statistics, until all are counted
  const total = done ? copied : Math.max(copied, Number(migration.rows_total));
  const { throttle } = run;
  if (throttle) run.copied = run.copied.filter(({ at }) => at >= throttle.turnedAt);
  const points = run.copied;
  const [first, last] = [points[0], points.at(-1)];
  const spacing = (run.at - (first?.at ?? run.at)) / 500;
  if (!last || done || run.at - last.at >= Math.max(0.2, spacing))
    points.push({
      at: run.at,
      rows: copied,
      share: run.lanes?.pace.share ?? 1,
      changes: run.lanes?.totals.taken ?? 0,
      rowsPerChange: throttle?.rowsPerChange ?? null,
    });
  const { held = false, most = 1 } = throttle?.drive ?? {};
  const limit = run.lanes?.pace.rowsPerSecond ?? null;
  const { rate, eta, fullSpeed } = estimate(points, total, { held, limit, most });
  if (!done && run.due('compare speed', 3))
    run.compareSpeed = await compareSpeed(ctx.pool, migration.plan, ctx.clock, run.compareSpeed);
  const after =
    rate === null || fullSpeed === null
      ? null
      : estimateAfterwards(total, { rate, fullSpeed }, indexesToBuild(migration), run.compareSpeed);
  if (done || run.due('progress', 0.5)) {
    const lag = run.lanes ? await lagNow(ctx, migration, run.lanes) : null;
    await updateStatus(ctx.pool, migration.id, {
      rows_migrated: Math.round(copied),
      rows_total: Math.round(total),
      rate,
      eta_s: eta,
      eta_total_s: eta === null || after === null ? null : eta + after,
      wait_reason: done ? null : (run.throttle?.reason ?? null),
      ...throttleColumn(run),
      ...coverageColumn(run.live.coverage),
      ...(lag ? { lag } : {}),
    });
    run.emit({ type: 'progress', rows: copied, total, rate, eta_s: eta, at: run.at });
  }
  if (done)
    await updateStatus(ctx.pool, migration.id, {
      phase: 'index',
      copied_at: databaseNow,
      rate: null,
      eta_s: null,
      eta_total_s: after,
    });
  return done;
}

const indexesToBuild = ({ physical }: Migration) =>
  (physical?.deferred.length ?? 0) + (physical?.carried.length ?? 0);

/** PAUSED by somebody: no lanes, no work, until it is resumed. The key log is kept small meanwhile. */
export async function rest(run: Run): Promise<void> {
  await run.stopLanes();
  run.copied = [];
  if (run.due('say the pause', 60))
    run.emit({ type: 'wait', reason: run.migration.wait_reason as string, at: run.at });
  if (run.due('tend', 5)) await tend(run.ctx.pool, run.migration);
}

/** A step gave up because the migration was paused under its hands, and this run may wait for the end of that. */
export async function pausedMeanwhile(run: Run, error: unknown): Promise<boolean> {
  if (!(error instanceof ForeshadowError) || error.code !== 'CONFLICT') return false;
  if (run.options.seconds !== undefined) return false;
  const { status, error: failed } = await run.refresh();
  return status === 'PAUSED' && !failed;
}

/** T's unique indexes, S's indexes, fresh statistics. */
export async function finishIndexes(run: Run): Promise<void> {
  await finishTarget(run.ctx.pool, run.migration, {
    clock: run.ctx.clock,
    onStep: async (step) => {
      await run.requireAtWork();
      run.emit({ type: 'step', step, at: run.at });
      await updateStatus(run.ctx.pool, run.migration.id, { wait_reason: step });
    },
    onWait: (reason) => run.wait(reason),
  });
  await updateStatus(run.ctx.pool, run.migration.id, { phase: 'verify', wait_reason: null });
}

/** Every row of T against f(S), both ways, from where an earlier stretch has left it. */
export async function verifyAll(run: Run): Promise<void> {
  const { ctx, migration } = run;
  run.emit({ type: 'step', step: 'verifying', at: run.at });
  const kept = migration.verification_progress as VerificationProgress | null;
  // an earlier version kept something else: then from the start
  let progress = kept?.lookedUp !== undefined ? kept : beginVerification();
  run.compared = [];
  while (!progress.done) {
    if (run.over) return;
    const from = progress;
    progress = await run.breathing(() =>
      verifyNext(ctx.pool, migration.plan, from, {
        clock: ctx.clock,
        repair: true,
        check: () => run.checkTime(),
        ...(run.options.signal ? { signal: run.options.signal } : {}),
      }),
    );
    await updateStatus(ctx.pool, migration.id, {
      verification_progress: progress,
      wait_reason: run.throttle?.reason ?? null,
      ...throttleColumn(run),
      eta_total_s: verificationLeft(run, progress),
    });
  }
  const verification = verificationOf(progress);
  const green = verification.missing + verification.extra + verification.different === 0;
  // a red one shuts the way to the write cutover again, whatever was ordered
  await updateStatus(ctx.pool, migration.id, {
    verification,
    verification_progress: null,
    eta_total_s: null,
    wait_reason: null,
    ...(green ? {} : { phase: 'verify' }),
  });
  if (!green) await fulfilOrder(ctx.pool, migration.id, 'cutover-writes');
  requireEqual(migration.plan, verification);
  if (migration.phase === 'verify') await updateStatus(ctx.pool, migration.id, { phase: 'ready' });
}

const rowsCompared = ({ compared, lookedUp }: VerificationProgress) => compared + lookUp * lookedUp;

/** Seconds that the comparison has left, by what it did in this stretch; null before that tells. */
function verificationLeft(run: Run, progress: VerificationProgress): number | null {
  const rows = rowsCompared(progress);
  run.compared.push({ at: run.at, rows, share: run.lanes?.pace.share ?? 1 });
  const total = Math.max(progress.compared, Number(run.migration.rows_total)) * (1 + lookUp);
  return estimate(run.compared, total, { held: run.throttle?.drive.held ?? false, limit: null }).eta;
}

/** IN_PROGRESS → COMPLETED. */
export async function cutOverWritesNow(run: Run): Promise<void> {
  run.emit({ type: 'step', step: 'cutting writes over', at: run.at });
  const { ctx } = run;
  const migration = await getMigration(ctx.pool, run.migration.name);
  const completed = await cutOverWrites(migration, {
    pool: ctx.pool,
    connect: () => ctx.connect('cutover'),
    clock: ctx.clock,
    maxAttempts: 1000,
    ...(run.options.signal ? { signal: run.options.signal } : {}),
    onWait: async (reason) => {
      await run.requireAtWork();
      await run.wait(reason);
    },
    terminateFor: ({ orders }) => orders['cutover-writes']?.terminate_blockers ?? null,
  });
  await fulfilOrder(ctx.pool, migration.id, 'cutover-writes');
  run.moved(completed);
}

/** After the write cutover: guard dropped, carried checks validated. After a rollback: nothing of ours is left. */
export async function settle(run: Run, patient = true): Promise<void> {
  if (run.migration.settled_at) return;
  const settled = await settleTarget(run.ctx.pool, run.migration, run.ctx.clock, async (reason) => {
    run.options.signal?.throwIfAborted();
    await run.wait(reason);
    return patient && !run.over;
  });
  if (!settled) return;
  const { id, status } = run.migration;
  await updateStatus(run.ctx.pool, id, { settled_at: databaseNow, wait_reason: null }, status);
  await run.refresh();
}

/** Before the write cutover: everything back as it was. */
export async function abort(run: Run): Promise<void> {
  run.moved(await takeBack(run.ctx.pool, run.migration.name, { clock: run.ctx.clock, grace: abortGrace }));
  await fulfilOrder(run.ctx.pool, run.migration.id, 'abort');
}

/** An operator's turn: nothing to do but say what is waited for. */
export async function awaitOperator(run: Run, what: 'reads' | 'writes'): Promise<void> {
  await run.wait(`waiting for the operator: foreshadow cutover ${run.migration.name} --${what}`);
}

/** What each task does; all may be repeated, and be done by any process. */
export const taskSteps: Readonly<Record<Task, (run: Run) => Promise<void>>> = {
  mine,
  train,
  resample,
  evaluate,
  verify: verifyAll,
};
