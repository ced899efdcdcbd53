import { horizonFactor } from '../features/decay.ts';
import type { FeatureEngine } from '../features/engine.ts';
import type { FeatureSpec } from '../features/spec.ts';

/** Expected counts over one horizon, by slot; all non-negative. A change is counted in `accesses` too. */
export interface Expectation {
  readonly accesses: Float64Array;
  readonly changes: Float64Array;
}

/**
 * Decayed frequency, scaled to the count of one horizon.
 * @param halfLife index into the spec's access half-lives
 * @param slots all when absent
 */
export function ewmaExpectation(
  engine: FeatureEngine,
  now: number,
  halfLife: number,
  slots?: ArrayLike<number>,
): Expectation {
  const { spec } = engine;
  const changeHalfLife = nearestChangeHalfLife(spec, halfLife);
  const factor = (halfLives: readonly number[], index: number) =>
    horizonFactor(spec.horizonSeconds, halfLives[index]! * spec.horizonSeconds, now - engine.startedAt);
  return {
    accesses: scaled(engine.ewma(now, halfLife, slots), factor(spec.accessHalfLives, halfLife)),
    changes: scaled(
      engine.changeEwma(now, changeHalfLife, slots),
      factor(spec.changeHalfLives, changeHalfLife),
    ),
  };
}

/**
 * A row's share of its group, at one half-life, of what the group's level, phase and announced events let expect.
 * Changes are expected as by {@link ewmaExpectation}, at most as many. Without groups the two are the same.
 * @param halfLife index into the spec's access half-lives
 */
export function groupExpectation(
  engine: FeatureEngine,
  now: number,
  halfLife: number,
  slots?: ArrayLike<number>,
): Expectation {
  const { changes } = ewmaExpectation(engine, now, halfLife, slots);
  return { accesses: engine.groupShare(now, halfLife, slots), changes };
}

/** Without a model, what was used lately is expected again: the EWMA with a half-life of two horizons. */
export function recentUse(
  engine: FeatureEngine,
  now: number,
  slots?: ArrayLike<number>,
): Expectation & { readonly score: Float64Array } {
  const expected = ewmaExpectation(engine, now, engine.spec.accessHalfLives.indexOf(2), slots);
  return { ...expected, score: expected.accesses };
}

/** Long-run frequency, scaled to the count of one horizon. */
export function lfuExpectation(engine: FeatureEngine, now: number, slots?: ArrayLike<number>): Expectation {
  const horizon = engine.spec.horizonSeconds;
  const factor = horizon / Math.max(now - engine.startedAt, horizon / 64);
  return { accesses: scaled(engine.lfu(slots), factor), changes: scaled(engine.changeTotals(slots), factor) };
}

/**
 * What a row is worth: its reads plus `changeWeight` times its changes. A change is an access too, so with weight 1
 * that is exactly its accesses. Non-negative.
 */
export function worth(accesses: number, changes: number, changeWeight: number): number {
  return accesses + (changeWeight - 1) * Math.min(changes, accesses);
}

/** {@link worth} by slot. */
export function worths({ accesses, changes }: Expectation, changeWeight: number): Float64Array {
  return changeWeight === 1 ? accesses : accesses.map((count, i) => worth(count, changes[i]!, changeWeight));
}

/** Changes are remembered at fewer half-lives: the one closest (in ratio) to an access half-life of the spec. */
export function nearestChangeHalfLife(spec: FeatureSpec, halfLife: number): number {
  const distances = spec.changeHalfLives.map((h) => Math.abs(Math.log(h / spec.accessHalfLives[halfLife]!)));
  return distances.indexOf(Math.min(...distances));
}

/** Below this nothing is expected, but the order is kept; far under any count that decay leaves behind. */
const NOTHING = 1e-300;

/**
 * Applies a correction, learnt in log1p space, to an expected count: (1 + e)·exp(c) − 1, written so that a correction
 * of exactly zero gives back exactly e. Where that is negative (the network expects less than nothing) the result is
 * tiny, positive and in the same order. A correction that is not finite counts as zero: a broken network is the EWMA.
 */
export function corrected(expected: number, correction: number): number {
  if (correction === 0 || !Number.isFinite(correction)) return expected;
  const growth = Math.exp(correction);
  // the difference is exact enough where it does not cancel, and much cheaper
  const shift = Math.abs(correction) < 1e-3 ? Math.expm1(correction) : growth - 1;
  const value = expected * growth + shift;
  return value > 0 ? value : NOTHING * Math.exp(value);
}

function scaled(values: Float64Array, factor: number): Float64Array {
  for (let i = 0; i < values.length; i++) values[i]! *= factor;
  return values;
}

/** What a network may correct. */
export const baseNames = ['ewma', 'group'] as const;

/** The expectation that a network corrects, with its tuned half-life: an index into the spec's access half-lives. */
export interface Base {
  readonly name: (typeof baseNames)[number];
  readonly halfLife: number;
}
