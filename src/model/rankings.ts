import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import type { FeatureEngine } from '../features/engine.ts';
import { ewmaExpectation, lfuExpectation, worths } from './expectation.ts';
import { chooseTop } from './top.ts';

/** What every prediction is shown beside. `oracle` knows the future and is the best that any choice can do. */
export const baselineNames = ['random', 'lru', 'lfu', 'ewma', 'oracle'] as const;
export type Baseline = (typeof baselineNames)[number];

/** Weighted accesses that found their row, all of them, and the ratio; the share of no accesses at all is 0. */
export interface HitShare {
  readonly hits: number;
  readonly total: number;
  readonly share: number;
}

export interface HitOptions {
  /** what a change (W) counts; a read counts 1. 1 when absent */
  readonly changeWeight?: number;
  /**
   * keys that are admitted when they first appear: the access that brings one in is no hit, all later ones are.
   * The accesses must then be in time order.
   */
  readonly admitted?: ReadonlySet<KeyId>;
}

/** The share of the accesses that fall on chosen keys. */
export function hitShare(
  chosen: ReadonlySet<KeyId>,
  future: Iterable<Access>,
  options: HitOptions = {},
): HitShare {
  const { changeWeight = 1, admitted } = options;
  const arrived = new Set<KeyId>();
  let hits = 0;
  let total = 0;
  for (const { key, op, weight = 1 } of future) {
    const value = op === 'W' ? weight * changeWeight : weight;
    total += value;
    if (chosen.has(key) || arrived.has(key)) hits += value;
    else if (admitted?.has(key)) arrived.add(key);
  }
  return { hits, total, share: total > 0 ? hits / total : 0 };
}

export interface BaselineOptions extends HitOptions {
  /** breaks ties, and draws the random baseline */
  readonly seed: number;
  /** index of the tuned half-life in the spec */
  readonly halfLife: number;
}

/**
 * Hit shares of the baselines that choose `rows` of the keys that the engine has seen, at `now`.
 * @param future the accesses of [now, now + horizon)
 */
export function baselines(
  engine: FeatureEngine,
  now: number,
  future: readonly Access[],
  rows: number,
  options: BaselineOptions,
): Record<Baseline, HitShare> {
  const { changeWeight = 1 } = options;
  const judge = (scores: ArrayLike<number>) =>
    hitShare(chooseTop(engine.keys(), scores, rows, options.seed), future, options);
  return {
    random: judge(new Float64Array(engine.size)),
    lru: judge(engine.lastAccess()),
    lfu: judge(worths(lfuExpectation(engine, now), changeWeight)),
    ewma: judge(worths(ewmaExpectation(engine, now, options.halfLife), changeWeight)),
    oracle: judge(futureValues(engine, future, changeWeight)),
  };
}

/** The weighted number of accesses that each slot will get; keys that the engine has not seen are left out. */
export function futureValues(
  engine: FeatureEngine,
  future: Iterable<Access>,
  changeWeight: number,
): Float64Array {
  const values = new Float64Array(engine.size);
  for (const { key, op, weight = 1 } of future) {
    const slot = engine.slotOf(key);
    if (slot !== undefined) values[slot]! += op === 'W' ? weight * changeWeight : weight;
  }
  return values;
}
