import { seconds } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import { hashUnit } from '../core/rng.ts';
import type { FeatureEngine } from '../features/engine.ts';
import type { Migration } from '../migration/status.store.ts';
import { updateStatus } from '../migration/status.store.ts';
import { chooseTop, type Predictor } from '../model/index.ts';
import { chooseCertainSet } from '../sampler/certain-set.ts';
import { certifiable } from '../sampler/certifiable.ts';
import { priorities } from '../sampler/priority.ts';
import { incumbentsOf, randomRate } from '../sampler/random-remainder.ts';
import type { Signals } from '../sampler/signals.ts';
import type { Rival, Selection } from '../shadow/coverage.ts';
import {
  judgeByChance,
  lowerRandom,
  setLaneSampling,
  setRangeHeat,
  shadowCounts,
  storedMembers,
  wantCertain,
  wantRandom,
} from '../shadow/wanted.queries.ts';
import { sourceRanges } from '../sync/chunk.queries.ts';
import type { Observation } from './observation.ts';

/** What the sampler must not forget, in the status row. */
export interface Sampling {
  /** the stored rate of the random remainder */
  readonly pi0?: number;
  /** the rate up to which every range has been searched for random rows: estimation may use no more */
  readonly filled?: number;
  /** seconds since the epoch */
  readonly chosen_at?: number;
  readonly notes?: readonly string[];
}

/** The three signals over every key that the log or capture has shown, deleted rows left out. */
export async function signalsNow(
  observation: Observation,
  predictor: Predictor | null,
  now: number,
  changeWeight: number,
): Promise<Signals> {
  const { engine, deleted } = observation;
  const frequency = engine.ewma(now, engine.spec.accessHalfLives.length - 1);
  const change = engine.changeEwma(now, engine.spec.changeHalfLives.length - 1);
  // Without a model, what was used lately is expected again.
  const predictive = predictor ? (await predictor.score(engine, now)).score : engine.ewma(now, 5);
  const keys = engine.keys().slice(0, Math.min(predictive.length, frequency.length));
  if (changeWeight === 0) change.fill(0);
  for (let i = 0; i < keys.length; i++) {
    if (deleted.has(keys[i]!)) predictive[i] = frequency[i] = change[i] = 0;
  }
  return {
    keys,
    predictive: predictive.slice(0, keys.length),
    frequency: frequency.slice(0, keys.length),
    change: change.slice(0, keys.length),
  };
}

export interface Choice {
  readonly at: number;
  readonly budget: number;
  readonly sets: ReadonlyMap<Rival, Selection>;
  readonly signals: Signals;
}

/** Chooses the shadow anew and tells lanes what to admit and what to evict. The random remainder is filled separately. */
export async function chooseShadow(
  ctx: Context,
  migration: Migration,
  observation: Observation,
  predictor: Predictor | null,
): Promise<Choice> {
  const { plan, definition } = migration;
  const { fraction, weights, seed } = definition.shadow;
  const sampling = migration.sampling as Sampling;
  const N = Math.max(1, Number(migration.rows_total));
  const n = Math.max(1, Math.round(fraction * N));
  const at = ctx.clock.now();
  const signals = await signalsNow(observation, predictor, at, definition.predict.changeWeight);
  const stored = await storedMembers(ctx.pool, plan, 'certain');
  const incumbents = incumbentsOf(stored.map(({ id, stratum }) => ({ key: id, stratum })));
  const since = sampling.chosen_at ?? 0;
  const fresh = stored
    .filter((member) => member.stratum === 'new' && member.since > since)
    .map((member) => member.id);
  const choice = chooseCertainSet({
    ...signals,
    n,
    weights,
    incumbents,
    fresh,
    churnLimit: Math.ceil(n / 2),
    seed,
  });
  const { pi0 } = randomRate({
    N,
    nA: choice.certain.size,
    target: choice.randomTarget,
    ...(sampling.pi0 === undefined ? {} : { pi0: sampling.pi0 }),
  });

  // The rate first: rows inserted from now on are judged by it in the lanes, rows of before are found by the fill.
  const room = Math.ceil((n * (1 - weights.random) * 0.25) / definition.copy.lanes);
  await setLaneSampling(ctx.pool, plan, pi0, room);
  await wantCertain(ctx.pool, plan, choice.certain);
  await judgeByChance(ctx.pool, plan, choice.leaving, pi0);
  if (sampling.pi0 !== undefined && pi0 < sampling.pi0) await lowerRandom(ctx.pool, plan, pi0);
  const check = certifiable({
    N,
    n,
    random: choice.randomTarget / n,
    threshold: definition.confidence.threshold,
  });
  const notes = [...choice.notes, ...(check.ok ? [] : [check.message])];
  const filled = Math.min(sampling.filled ?? 0, pi0);
  await updateStatus(ctx.pool, migration.id, {
    sampling: { pi0, filled, chosen_at: at, notes } satisfies Sampling,
  });
  const counts = await shadowCounts(ctx.pool, plan);
  const budget = Math.max(1, Math.round(counts.wanted));
  const members = new Set([...choice.certain.keys()]);
  return {
    at,
    budget,
    signals,
    sets: rivalSets(observation, migration, at, budget, N, { size: budget, has: (key) => members.has(key) }),
  };
}

/** Every rival chooses from the same log, at the same time, the same number of rows. */
export function rivalSets(
  observation: Observation,
  migration: Migration,
  at: number,
  budget: number,
  N: number,
  shadow: Selection,
): Map<Rival, Selection> {
  const { engine } = observation;
  const { seed } = migration.definition.shadow;
  const top = (scores: Float64Array): Selection =>
    chooseTop(engine.keys().slice(0, scores.length), scores, budget, seed);
  const random: Selection = { size: budget, has: (key) => hashUnit(key, seed + 1) < budget / N };
  return new Map<Rival, Selection>([
    ['shadow', shadow],
    ['random', random],
    ['lfu', top(engine.lfu())],
    ['lru', top(engine.lastAccess())],
    ['ewma', top(engine.ewma(at, tunedHalfLife(migration, engine)))],
  ]);
}

function tunedHalfLife(migration: Migration, engine: FeatureEngine): number {
  const index = (migration.model as { half_life_index?: number } | null)?.half_life_index;
  return index ?? engine.spec.accessHalfLives.indexOf(2);
}

/** Searches the source for rows of the random remainder, range by range, until the rate is filled. */
export async function fillRandom(ctx: Context, migration: Migration): Promise<void> {
  const sampling = migration.sampling as Sampling;
  const { pi0 = 0, filled = 0 } = sampling;
  if (filled >= pi0) return;
  for (const bounds of await sourceRanges(ctx.pool, migration.plan)) {
    await wantRandom(ctx.pool, migration.plan, bounds, filled, pi0);
  }
  await updateStatus(ctx.pool, migration.id, { sampling: { ...sampling, filled: pi0 } satisfies Sampling });
}

/** Orders the copy: the hottest range first, by the same blend that fills the shadow. */
export async function heatRanges(ctx: Context, migration: Migration, signals: Signals): Promise<void> {
  const u = Float64Array.from(signals.keys, (key) => hashUnit(key, migration.definition.shadow.seed));
  await setRangeHeat(
    ctx.pool,
    migration.plan,
    signals.keys,
    priorities(signals, u, migration.definition.shadow.weights),
  );
}

export const chooseEvery = (migration: Migration) => seconds(migration.definition.predict.every);
