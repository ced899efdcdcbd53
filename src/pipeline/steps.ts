import { beginShadowing } from '../migration/begin.ts';
import { cutOverReads } from '../migration/cutover/reads.ts';
import { cutOverWrites } from '../migration/cutover/writes.ts';
import { finishTarget, settleTarget } from '../migration/finish-target.ts';
import { databaseNow, getMigration, moveStatus, updateStatus } from '../migration/status.store.ts';
import { comparisonSnapshots, requireEqual, verify } from '../migration/verify.ts';
import { Coverage, type Rival, type Selection } from '../shadow/coverage.ts';
import { forgetChanges, storedMembers } from '../shadow/wanted.queries.ts';
import { copyProgress } from '../sync/lane.queries.ts';
import { chooseEvery, chooseShadow, fillRandom, heatRanges } from './choice.ts';
import { learn, recall } from './learning.ts';
import { lagNow, measure, measureEvery } from './measurement.ts';
import { Observation } from './observation.ts';
import type { Run } from './run.ts';

/** Captured changes older than this many seconds are forgotten. */
const changesKept = 3600;
/** A model is trained anew after this many horizons. */
const retrainHorizons = 8;

/** PLANNED → SHADOWING: capture, overlay, our tables. */
export async function begin(run: Run): Promise<void> {
  const { ctx, file } = run;
  run.emit({ type: 'step', step: 'installing capture and overlay', at: run.at });
  const moved = await beginShadowing(ctx.pool, run.migration, {
    lanes: file.copy.lanes,
    clock: ctx.clock,
    onWait: (reason) => void run.emit({ type: 'wait', reason, at: run.at }),
  });
  run.moved(moved);
}

/** Logs → accesses → features: once the whole log, then what is appended. */
export async function observe(run: Run): Promise<void> {
  if (!run.observation) {
    run.emit({ type: 'step', step: 'mining the query log', at: run.at });
    run.observation = await Observation.open(run.ctx, run.migration);
    run.predictor = await recall(run.ctx, run.migration);
  }
  await run.observe();
}

/** Features → model, when there is none yet and from time to time. */
export async function train(run: Run): Promise<void> {
  const { observation } = run;
  if (!observation || !run.due('train', retrainHorizons * observation.engine.spec.horizonSeconds)) return;
  run.emit({ type: 'step', step: 'training', at: run.at });
  const before = run.predictor;
  run.predictor = (await learn(run.ctx, run.migration, observation)) ?? before;
  if (before && run.predictor !== before) before.dispose();
  await run.refresh();
}

/** Model → sampler → shadow: which rows, and the orders to the lanes. */
export async function choose(run: Run): Promise<void> {
  if (!run.observation || !run.due('choose', chooseEvery(run.migration))) return;
  run.emit({ type: 'step', step: 'choosing the shadow', at: run.at });
  run.choice = await chooseShadow(run.ctx, run.migration, run.observation, run.predictor);
  await run.refresh();
  await fillRandom(run.ctx, run.migration);
  await run.refresh();
  const stored = await storedMembers(run.ctx.pool, run.migration.plan, 'all');
  const members = new Set(stored.filter((member) => member.state !== 'leaving').map((member) => member.id));
  const rivals = run.choice.rivals(Math.max(1, members.size));
  run.coverage = new Coverage(
    run.choice.at,
    members.size,
    new Map<Rival, Selection>([...rivals, ['shadow', members]]),
  );
  await forgetChanges(run.ctx.pool, run.migration.plan, run.at - changesKept);
}

/** Shadow → confidence → gate. */
export async function evaluate(run: Run): Promise<void> {
  if (!run.lanes || !run.choice || !run.due('measure', measureEvery(run.migration))) return;
  const { gate, source } = await measure(run.ctx, run.migration, run.lanes, run.coverage, run.source);
  run.source = source;
  await run.refresh();
  if (!gate.open) run.emit({ type: 'wait', reason: gate.reasons[0] ?? '', at: run.at });
  const { status } = run.migration;
  if (gate.open && status === 'SHADOWING') {
    run.moved(
      await moveStatus(run.ctx.pool, run.migration, status, 'READY', {
        ready_at: databaseNow,
        wait_reason: null,
      }),
    );
  } else if (!gate.open && status === 'READY') {
    run.moved(await moveStatus(run.ctx.pool, run.migration, status, 'SHADOWING', { ready_at: null }));
  }
}

/** READY → IN_PROGRESS: the route changes, membership freezes, the copy begins where it is hottest. */
export async function cutOverReadsNow(run: Run): Promise<void> {
  const { ctx, migration, observation } = run;
  const { plan } = migration;
  if (run.choice) await heatRanges(ctx, migration, run.choice.signals);
  run.moved(await cutOverReads(ctx.pool, migration));
  const members = await storedMembers(ctx.pool, plan, 'all');
  const present = new Set(members.filter((member) => member.state !== 'wanted').map((member) => member.id));
  if (!run.choice || !observation) return;
  const { at: chosenAt } = run.choice;
  const admitted = run.admittedSince(chosenAt);
  const sets = new Map<Rival, Selection>([['shadow', present]]);
  for (const [name, chosen] of run.choice.rivals(Math.max(1, present.size - admitted.size))) {
    sets.set(name, { size: present.size, has: (key) => chosen.has(key) || admitted.has(key) });
  }
  run.coverage = new Coverage(run.at, present.size, sets);
  run.emit({ type: 'reads-cut-over', at: run.at, chosenAt, budget: present.size, sets });
}

/** Follows the copy. @returns whether every range is done */
export async function copyRest(run: Run): Promise<boolean> {
  const { ctx, migration } = run;
  const { done, copied } = await copyProgress(ctx.pool, migration.plan);
  const total = Math.max(copied, Number(migration.rows_total));
  run.copied.push({ at: run.at, rows: copied });
  const recent = run.copied.filter((point) => point.at > run.at - 10);
  const first = recent[0] as { at: number; rows: number };
  const rate = run.at - first.at > 0.5 ? (copied - first.rows) / (run.at - first.at) : null;
  // No estimate before one per cent: it would be noise.
  const eta = rate && copied > total / 100 ? Math.max(0, (total - copied) / rate) : null;
  if (done || run.due('progress', 1)) {
    const waiting = migration.definition.copy.rowsPerSecond
      ? `copy limited to ${migration.definition.copy.rowsPerSecond} rows/s by copy.rowsPerSecond`
      : null;
    const lag = run.lanes ? await lagNow(ctx, migration, run.lanes) : null;
    await updateStatus(ctx.pool, migration.id, {
      rows_migrated: Math.round(copied),
      rate,
      eta_s: eta,
      wait_reason: done ? null : waiting,
      coverage: run.coverage?.report() ?? null,
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
    });
  return done;
}

/** T's unique indexes, S's indexes, fresh statistics. */
export async function finishIndexes(run: Run): Promise<void> {
  await finishTarget(run.ctx.pool, run.migration, {
    clock: run.ctx.clock,
    onStep: async (step) => {
      run.lanes?.check();
      run.emit({ type: 'step', step, at: run.at });
      await updateStatus(run.ctx.pool, run.migration.id, { wait_reason: step });
    },
  });
  await updateStatus(run.ctx.pool, run.migration.id, { phase: 'verify', wait_reason: null });
}

/** Every row of T against f(S), both ways. */
export async function verifyAll(run: Run): Promise<void> {
  const { ctx, migration } = run;
  run.emit({ type: 'step', step: 'verifying', at: run.at });
  const result = await verify(ctx.pool, migration.plan, {
    snapshots: comparisonSnapshots(migration),
    clock: ctx.clock,
    repair: true,
    check: () => run.lanes?.check(),
    ...(run.options.signal ? { signal: run.options.signal } : {}),
  });
  await updateStatus(ctx.pool, migration.id, { verification: result });
  requireEqual(migration.plan, result);
  await updateStatus(ctx.pool, migration.id, { phase: 'ready' });
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
      run.lanes?.check();
      await run.wait(reason);
    },
  });
  run.moved(completed);
}

/** After the write cutover: guard dropped, carried checks validated. */
export async function settle(run: Run): Promise<void> {
  await settleTarget(run.ctx.pool, run.migration, run.ctx.clock);
}

/** An operator's turn: nothing to do but say what is waited for. */
export async function awaitOperator(run: Run, what: 'reads' | 'writes'): Promise<void> {
  await run.wait(`waiting for the operator: foreshadow cutover ${run.migration.name} --${what}`);
}
