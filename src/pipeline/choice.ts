import { seconds } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import { hashUnit } from '../core/rng.ts';
import type { FeatureEngine } from '../features/engine.ts';
import { shadowFraction } from '../migration/shadow-size.store.ts';
import type { Migration } from '../migration/status.store.ts';
import { updateStatus } from '../migration/status.store.ts';
import { chooseTop, type Manifest, type Predictor, recentUse } from '../model/index.ts';
import { chooseCertainSet } from '../sampler/certain-set.ts';
import { certifiable, leastRandom } from '../sampler/certifiable.ts';
import { priorities } from '../sampler/priority.ts';
import { incumbentsOf, randomRate } from '../sampler/random-remainder.ts';
import type { Signals } from '../sampler/signals.ts';
import type { Rival, Selection } from '../shadow/coverage.ts';
import { storedMembers } from '../shadow/members.queries.ts';
import {
  judgeByChance,
  lowerRandom,
  setLaneSampling,
  setRangeHeat,
  wantCertain,
  wantRandom,
} from '../shadow/wanted.queries.ts';
import { lastKeyOf, sourceRanges } from '../sync/chunk.queries.ts';
import type { Observation } from './observation.ts';

/** What the sampler must not forget, in the status row. */
export interface Sampling {
  /** the stored rate of the random remainder */
  readonly pi0?: number;
  /** the rate up to which every range has been searched for random rows: estimation may use no more */
  readonly filled?: number;
  /** seconds since the epoch */
  readonly chosen_at?: number;
  /** of the rows that the last choice was for */
  readonly fraction?: number;
  readonly notes?: readonly string[];
}

/** The shadow is to have another size than it was chosen for. */
export function sizeIsNew(migration: Migration): boolean {
  const { fraction } = migration.sampling as Sampling;
  return fraction !== undefined && fraction !== shadowFraction(migration);
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
  const predictive = predictor ? (await predictor.score(engine, now)).score : recentUse(engine, now).score;
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
  /** what the status row knows the choice by; null when nothing was chosen, only looked at */
  readonly chosenAt: number | null;
  /** when the signals were taken, seconds since the epoch */
  readonly at: number;
  readonly signals: Signals;
  /** of the model that scored; null without one */
  readonly manifest: Manifest | null;
  /** the baselines' choices at that time, for a budget in rows */
  readonly rivals: (budget: number) => Map<Rival, Selection>;
}

/** Chooses the shadow anew and tells lanes what to admit and what to evict. The random remainder is filled separately. */
export async function chooseShadow(
  ctx: Context,
  migration: Migration,
  observation: Observation,
  predictor: Predictor | null,
): Promise<Choice> {
  const { plan, definition } = migration;
  const { weights, seed } = definition.shadow;
  const fraction = shadowFraction(migration);
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
    // a shadow that was made smaller is so at once
    churnLimit: sizeIsNew(migration) ? Number.POSITIVE_INFINITY : Math.ceil(n / 2),
    seed,
  });
  const nA = choice.certain.size;
  const { threshold } = definition.confidence;
  const least = leastRandom({ N, nA, threshold });
  const target = Math.max(choice.randomTarget, least);
  const { pi0 } = randomRate({
    N,
    nA,
    target,
    ...(sampling.pi0 === undefined ? {} : { pi0: sampling.pi0 }),
  });

  // The rate first: rows inserted from now on are judged by it in the lanes, rows of before are found by the fill.
  const room = Math.ceil((n * (1 - weights.random) * 0.25) / definition.copy.lanes);
  await setLaneSampling(ctx.pool, plan, pi0, room);
  await wantCertain(ctx.pool, plan, choice.certain);
  const leaving = new Set(choice.leaving);
  await judgeByChance(
    ctx.pool,
    plan,
    stored.filter(({ id }) => leaving.has(id)),
    pi0,
  );
  if (sampling.pi0 !== undefined && pi0 < sampling.pi0) await lowerRandom(ctx.pool, plan, pi0);
  const check = certifiable({ N, n: nA + target, random: target / (nA + target), threshold });
  const notes = [...choice.notes];
  if (least > choice.randomTarget) {
    const instead = least >= N - nA ? 'all other rows' : `${least} rows`;
    notes.push(
      `a random remainder of ${choice.randomTarget} rows is too small to judge the table by: it gets ${instead}`,
    );
  }
  // with every row in the shadow there is nothing to estimate
  if (!check.ok && pi0 < 1) notes.push(check.message);
  const filled = Math.min(sampling.filled ?? 0, pi0);
  await updateStatus(ctx.pool, migration.id, {
    sampling: { pi0, filled, chosen_at: at, fraction, notes } satisfies Sampling,
  });
  const manifest = predictor?.manifest ?? null;
  return { chosenAt: at, at, signals, manifest, rivals: rivalsNow(observation, migration, at) };
}

/** How things stand now, with nothing chosen: for the order of the copy. */
export async function lookNow(
  ctx: Context,
  migration: Migration,
  observation: Observation,
  predictor: Predictor | null,
): Promise<Choice> {
  const at = ctx.clock.now();
  const signals = await signalsNow(observation, predictor, at, migration.definition.predict.changeWeight);
  const manifest = predictor?.manifest ?? null;
  return { chosenAt: null, at, signals, manifest, rivals: rivalsNow(observation, migration, at) };
}

/**
 * What each baseline would hold: from the log as it is now, whatever budget it is asked for later. The budget is known
 * only when the shadow's rows are in place, and by then the log has told more than the choice could use.
 */
export function rivalsNow(observation: Observation, migration: Migration, at: number): Choice['rivals'] {
  const { engine } = observation;
  const N = Math.max(1, Number(migration.rows_total));
  const { seed } = migration.definition.shadow;
  const keys = engine.keys().slice();
  const scores = {
    lfu: engine.lfu(),
    lru: engine.lastAccess(),
    ewma: engine.ewma(at, tunedHalfLife(migration, engine)),
  };
  return (budget) => {
    const top = (ranking: Float64Array): Selection => chooseTop(keys, ranking, budget, seed);
    const random: Selection = { size: budget, has: (key) => hashUnit(key, seed + 1) < budget / N };
    return new Map<Rival, Selection>([
      ['random', random],
      ['lfu', top(scores.lfu)],
      ['lru', top(scores.lru)],
      ['ewma', top(scores.ewma)],
    ]);
  };
}

function tunedHalfLife(migration: Migration, engine: FeatureEngine): number {
  const index = (migration.model as { half_life_index?: number } | null)?.half_life_index;
  return index ?? engine.spec.accessHalfLives.indexOf(2);
}

/** Rows of the source searched in one statement, whose snapshot is a fraction of a second old. */
const searchedAtOnce = 100_000;

/**
 * Searches the source for rows of the random remainder, in runs of keys, until the rate is filled.
 * @param check throws when another process has taken over, and may have chosen anew
 */
export async function fillRandom(
  { pool }: Context,
  migration: Migration,
  check: () => void,
  atOnce = searchedAtOnce,
): Promise<void> {
  const { plan } = migration;
  const sampling = migration.sampling as Sampling;
  const { pi0 = 0, filled = 0 } = sampling;
  if (filled >= pi0) return;
  for (const { low: first, high } of await sourceRanges(pool, plan)) {
    for (let low = first, more = true; more; ) {
      const last = await lastKeyOf(pool, plan, { low, high }, atOnce);
      await wantRandom(pool, plan, { low, high: last ?? high }, filled, pi0);
      check();
      more = last !== null;
      low = last;
    }
  }
  await updateStatus(pool, migration.id, { sampling: { ...sampling, filled: pi0 } satisfies Sampling });
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

/** Whether the last choice is old enough for another one, or was not carried out to its end. */
export function choiceIsDue(migration: Migration, now: number): boolean {
  const { chosen_at = Number.NEGATIVE_INFINITY, pi0 = 0, filled = 0 } = migration.sampling as Sampling;
  return (
    sizeIsNew(migration) || filled < pi0 || now - chosen_at >= seconds(migration.definition.predict.every)
  );
}
