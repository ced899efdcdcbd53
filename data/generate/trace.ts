import type { Access } from '../../src/core/access.ts';
import type { Rng } from '../../src/core/rng.ts';

/** What every generator takes. The same options give the same trace, bit for bit. */
export interface TraceOptions {
  readonly seed: number;
  /** accesses; the order lifecycle gives about this many, the others exactly */
  readonly events: number;
  /** different keys that can occur */
  readonly keys: number;
  /** length of the trace */
  readonly days: number;
}

/** An event that was announced: accesses of its group are `weight` times as frequent from start to end. */
export interface CalendarEntry {
  /** seconds since the epoch */
  readonly start: number;
  /** seconds since the epoch; the first moment after the event */
  readonly end: number;
  /** the part of the keys before the first colon */
  readonly group: string;
  readonly kind: string;
  readonly weight: number;
}

export interface Trace {
  /** by time, whole tenths of seconds since the epoch */
  readonly accesses: readonly Access[];
  readonly calendar?: readonly CalendarEntry[];
}

/** Every trace begins on Monday, 5 January 2026, 00:00 UTC. In seconds since the epoch. */
export const traceStart = 1_767_571_200;

export const hourSeconds = 3_600;
export const daySeconds = 86_400;

/** Rounds to tenths of seconds (what the files hold) and sorts by time, then key, then op. */
export function inOrder(accesses: readonly Access[]): Access[] {
  return accesses
    .map((access) => ({ ...access, at: Math.round(access.at * 10) / 10 }))
    .sort((a, b) => a.at - b.at || compareText(a.key, b.key) || compareText(a.op, b.op));
}

const compareText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** Draws indices in proportion to weights, by a binary search in their running sum. */
export function weightedIndex(weights: readonly number[], rng: Rng): () => number {
  const sums = new Float64Array(weights.length);
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sums[i] = sum += weights[i]!;
  return () => {
    const point = rng() * sum;
    let low = 0;
    let high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle]! > point) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}

/** Weights 1, 1/2ˢ, 1/3ˢ, … */
export function zipfWeights(n: number, exponent: number): number[] {
  return Array.from({ length: n }, (_, i) => (i + 1) ** -exponent);
}

/** 0 … n−1 in random order (Fisher and Yates). */
export function shuffled(n: number, rng: Rng): number[] {
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(rng() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** A waiting time in the unit of `mean`. */
export function exponential(mean: number, rng: Rng): number {
  return -mean * Math.log(1 - rng());
}

/** @throws RangeError naming the option */
export function checkOptions({ events, keys, days, seed }: TraceOptions): void {
  for (const [name, value] of Object.entries({ events, keys, days })) {
    if (!(value > 0 && Number.isFinite(value))) throw new RangeError(`${name} must be above 0, not ${value}`);
  }
  for (const [name, value] of Object.entries({ events, keys, seed })) {
    if (!Number.isInteger(value)) throw new RangeError(`${name} must be a whole number, not ${value}`);
  }
}
