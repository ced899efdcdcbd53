import type { Access } from '../core/access.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { KeyId } from '../core/key.ts';
import {
  baselines,
  chooseTop,
  disposeAll,
  expectedHitShare,
  futureValues,
  hitShare,
  type PredictorName,
  positionOf,
  type Trained,
  topPositions,
  trainModels,
  type World,
} from '../model/index.ts';
import { type PolicyShares, playPolicies } from './policies.ts';

/** What is compared, in the order in which it is shown. */
export const comparedNames = [
  'chosen',
  'random',
  'lru',
  'lfu',
  'ewma',
  'group',
  'network',
  'mix',
  'half_future',
] as const;
export type Compared = (typeof comparedNames)[number];

export interface BacktestOptions {
  /** in time order */
  readonly accesses: readonly Access[];
  readonly world: World;
  /** seconds; the window is [at, at + horizon) */
  readonly at: number;
  readonly horizonSeconds: number;
  /** shares of the rows, 0–1 */
  readonly budgets: readonly number[];
  readonly seed: number;
}

export interface Scored {
  /** hit share over the oracle's; null where that is 0, or for a predictor that there is not */
  readonly share_of_oracle: Readonly<Record<Compared, number | null>>;
  /** share of all accesses of the window, those of new rows included */
  readonly hit_share: Readonly<Record<Compared | 'oracle', number | null>>;
  readonly policies: PolicyShares;
  readonly calibration: { readonly predicted: number; readonly realised: number };
  readonly accesses: number;
}

export interface BudgetResult {
  readonly budget: number;
  /** keys seen before the cut */
  readonly universe: number;
  /** rows chosen */
  readonly rows: number;
  readonly chosen_predictor: PredictorName;
  readonly reason: string;
  readonly half_life_s: number;
  readonly keys: readonly KeyId[];
  /** null when the events end at the cut */
  readonly scored: Scored | null;
}

/**
 * Trains on what lies before `at`, chooses rows for each budget, and holds the choices against what came. Nothing at or
 * after `at` has any part in the choice.
 * @throws ForeshadowError USAGE when nothing lies before the cut
 */
export async function backtest(options: BacktestOptions): Promise<BudgetResult[]> {
  const { accesses, world, at, horizonSeconds, budgets, seed } = options;
  const end = positionOf(accesses, at);
  if (end === 0) throw new ForeshadowError('USAGE', `there are no events before ${at}`);
  const future = accesses.slice(end, positionOf(accesses, at + horizonSeconds));
  const trained = await trainModels({
    accesses: accesses.slice(0, end),
    now: at,
    horizonSeconds,
    budgets,
    seed,
    world,
    network: 'always',
  });
  try {
    const results: BudgetResult[] = [];
    for (const one of trained) results.push(await judge(one, options, future));
    if (future.length === 0) return results;
    const policies = await playPolicies(
      trained.map((one, n) => ({ ...one, chosen: new Set(results[n]!.keys) })),
      future,
      at,
      seed,
    );
    return results.map((result, n) => ({
      ...result,
      scored: result.scored && { ...result.scored, policies: policies[n]! },
    }));
  } finally {
    disposeAll(trained);
  }
}

async function judge(
  trained: Trained,
  { at, horizonSeconds, seed }: BacktestOptions,
  future: readonly Access[],
): Promise<BudgetResult> {
  const { engine, manifest, predictor } = trained;
  const keys = engine.keys();
  const rows = Math.min(keys.length, Math.max(1, Math.round(manifest.budget * keys.length)));
  const { score } = await predictor.score(engine, at);
  const chosen = topPositions(keys, score, rows, seed);
  const result = {
    budget: manifest.budget,
    universe: keys.length,
    rows,
    chosen_predictor: manifest.predictor,
    reason: manifest.reason,
    half_life_s: manifest.half_life.seconds,
    keys: Array.from(chosen, (slot) => keys[slot]!),
  };
  if (future.length === 0) return { ...result, scored: null };
  const shares = await comparedShares(trained, at, horizonSeconds, rows, future, seed);
  const oracle = shares.oracle ?? 0;
  const ofOracle = comparedNames.map((name) => {
    const share = shares[name];
    return [name, share !== null && oracle > 0 ? share / oracle : null];
  });
  const realised = shares.chosen ?? 0;
  const scored: Scored = {
    share_of_oracle: Object.fromEntries(ofOracle) as Scored['share_of_oracle'],
    hit_share: shares,
    policies: { once: realised, admit: realised, rechoose: realised },
    calibration: { predicted: expectedHitShare(manifest.calibration, score, chosen), realised },
    accesses: future.length,
  };
  return { ...result, scored };
}

async function comparedShares(
  { engine, manifest, predictor }: Trained,
  at: number,
  horizonSeconds: number,
  rows: number,
  future: readonly Access[],
  seed: number,
): Promise<Scored['hit_share']> {
  const usual = baselines(engine, at, future, rows, { seed, halfLife: manifest.half_life.index });
  const shareOf = (scores: ArrayLike<number>) =>
    hitShare(chooseTop(engine.keys(), scores, rows, seed), future).share;
  const as = async (name: PredictorName) => shareOf((await predictor.score(engine, at, name)).score);
  const half = future.slice(0, positionOf(future, at + horizonSeconds / 2));
  const { grouped } = engine.spec;
  const { trained } = manifest.network;
  return {
    chosen: await as(manifest.predictor),
    random: usual.random.share,
    lru: usual.lru.share,
    lfu: usual.lfu.share,
    ewma: usual.ewma.share,
    group: grouped ? await as('group') : null,
    network: trained ? await as('network') : null,
    mix: trained ? await as('mix') : null,
    half_future: shareOf(futureValues(engine, half, 1)),
    oracle: usual.oracle.share,
  };
}
