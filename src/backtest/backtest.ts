import type { Access } from '../core/access.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { KeyId } from '../core/key.ts';
import { Calendar } from '../features/calendar.ts';
import {
  chooseTop,
  disposeAll,
  expectedHitShare,
  foretell,
  futureValues,
  hitShare,
  type PredictorName,
  positionOf,
  type Recipe,
  type Trained,
  topPositions,
  trainModels,
  type World,
} from '../model/index.ts';
import { type PolicyShares, playPolicies } from './policies.ts';

/** Ways to choose rows without knowing what comes. A predictor that there is not chooses nothing. */
export const rankings = ['random', 'lru', 'lfu', 'ewma', 'group', 'network', 'mix', 'nudge'] as const;
export type Ranking = (typeof rankings)[number];

/** What is compared, in the order in which it is shown. */
export const comparedNames = ['chosen', ...rankings, 'half_future'] as const;
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
  /** another network than the usual one, for comparison */
  readonly recipe?: Partial<Recipe>;
}

export interface Scored {
  /** hit share over the oracle's; null where that is 0, or for a predictor that there is not */
  readonly share_of_oracle: Readonly<Record<Compared, number | null>>;
  /** share of all accesses of the window, those of new rows included */
  readonly hit_share: Readonly<Record<Compared | 'oracle', number | null>>;
  readonly policies: PolicyShares;
  /** the most rows that each policy held at one time */
  readonly policy_rows: PolicyShares;
  /** of the chosen rows; realised is expected to lie between lower and upper four times in five */
  readonly calibration: {
    readonly predicted: number;
    readonly realised: number;
    readonly lower: number;
    readonly upper: number;
  };
  /** accesses in the window */
  readonly accesses: number;
  /** the same for accesses to rows of a group while an announced event of it is on; null without any */
  readonly announced: {
    readonly accesses: number;
    readonly hit_share: Readonly<Record<'chosen' | Ranking, number | null>>;
  } | null;
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
  /** what the chosen predictor chose, and what each other way would have */
  readonly keys: Readonly<Partial<Record<'chosen' | Ranking, readonly KeyId[]>>>;
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
    ...(options.recipe && { recipe: options.recipe }),
  });
  try {
    const results: BudgetResult[] = [];
    for (const one of trained) results.push(await judge(one, options, future));
    if (future.length === 0) return results;
    const policies = await playPolicies(
      trained.map((one, n) => ({ ...one, chosen: new Set(results[n]!.keys.chosen) })),
      future,
      at,
      seed,
    );
    return results.map((result, n) => ({
      ...result,
      scored: result.scored && {
        ...result.scored,
        policies: policies[n]!.shares,
        policy_rows: policies[n]!.rows,
      },
    }));
  } finally {
    disposeAll(trained);
  }
}

async function judge(
  trained: Trained,
  options: BacktestOptions,
  future: readonly Access[],
): Promise<BudgetResult> {
  const { engine, manifest, predictor } = trained;
  const { at, seed } = options;
  const universe = engine.size;
  const rows = Math.min(universe, Math.max(1, Math.round(manifest.budget * universe)));
  const { score } = await predictor.score(engine, at);
  const chosen = topPositions(engine.keys(), score, rows, seed);
  const keys: BudgetResult['keys'] = {
    chosen: Array.from(chosen, (slot) => engine.keys()[slot]!),
    ...(await keysByRanking(trained, at, rows, seed)),
  };
  const result = {
    budget: manifest.budget,
    universe,
    rows,
    chosen_predictor: manifest.predictor,
    reason: manifest.reason,
    half_life_s: manifest.half_life.seconds,
    keys,
  };
  if (future.length === 0) return { ...result, scored: null };
  const shareOf = (own: Iterable<KeyId> | undefined) => own && hitShare(new Set(own), future).share;
  const top = (values: Float64Array) => shareOf(chooseTop(engine.keys(), values, rows, seed)) as number;
  const half = future.slice(0, positionOf(future, at + options.horizonSeconds / 2));
  const shares = Object.fromEntries([
    ...(['chosen', ...rankings] as const).map((name) => [name, shareOf(keys[name]) ?? null]),
    ['half_future', top(futureValues(engine, half, 1))],
  ]) as Record<Compared, number | null>;
  const oracle = top(futureValues(engine, future, 1));
  const ofOracle = comparedNames.map((name) => {
    const share = shares[name];
    return [name, share !== null && oracle > 0 ? share / oracle : null];
  });
  const realised = shares.chosen as number;
  const byScores = expectedHitShare(manifest.calibration, score, chosen);
  const scored: Scored = {
    share_of_oracle: Object.fromEntries(ofOracle) as Scored['share_of_oracle'],
    hit_share: { ...shares, oracle },
    policies: { once: realised, admit: realised, rechoose: realised },
    policy_rows: { once: rows, admit: rows, rechoose: rows },
    calibration: { realised, ...foretell(manifest.calibration, byScores) },
    accesses: future.length,
    announced: announcedShares(trained, options.world, keys, future),
  };
  return { ...result, scored };
}

/** Rows that had not been seen when the window began are left out: no choice could have held them. */
function announcedShares(
  { engine }: Trained,
  { groupOf, events = [] }: World,
  keys: BudgetResult['keys'],
  future: readonly Access[],
): Scored['announced'] {
  if (!groupOf || events.length === 0) return null;
  const calendar = new Calendar(events);
  const on = future.filter(({ key, at }) => {
    const group = groupOf(key);
    return group !== null && calendar.at(group, at) >= 0 && engine.slotOf(key) !== undefined;
  });
  if (on.length === 0) return null;
  const shares = (['chosen', ...rankings] as const).map((name) => {
    const own = keys[name];
    return [name, own ? hitShare(new Set(own), on).share : null];
  });
  return {
    accesses: on.length,
    hit_share: Object.fromEntries(shares) as Record<'chosen' | Ranking, number | null>,
  };
}

async function keysByRanking(
  { engine, manifest, predictor }: Trained,
  at: number,
  rows: number,
  seed: number,
): Promise<BudgetResult['keys']> {
  const top = (scores: ArrayLike<number>) => [...chooseTop(engine.keys(), scores, rows, seed)];
  const as = async (name: PredictorName) => top((await predictor.score(engine, at, name)).score);
  const { trained } = manifest.network;
  return {
    random: top(new Float64Array(engine.size)),
    lru: top(engine.lastAccess()),
    lfu: await as('lfu'),
    ewma: await as('ewma'),
    ...(engine.spec.grouped && { group: await as('group') }),
    ...(trained && { network: await as('network'), mix: await as('mix'), nudge: await as('nudge') }),
  };
}
