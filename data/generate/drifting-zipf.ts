import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';
import {
  checkOptions,
  daySeconds,
  inOrder,
  shuffled,
  type Trace,
  type TraceOptions,
  traceStart,
  weightedIndex,
  zipfWeights,
} from './trace.ts';

/** How often a key changes its rank with another over a whole trace, on average. */
const swapsPerKey = 1.5;

/**
 * Zipf's law (exponent 0.9) at every moment, but who is popular changes: all along the trace two keys swap ranks. What
 * was hot in the beginning is forgotten at the end, so that counting since the beginning misleads. Keys are numbers.
 * @throws RangeError for options that are out of range
 */
export function driftingZipf(options: TraceOptions): Trace {
  checkOptions(options);
  const { seed, events, keys, days } = options;
  const rng = seededRng(seed);
  const keyOfRank = shuffled(keys, rng);
  const draw = weightedIndex(zipfWeights(keys, 0.9), rng);
  const times = Float64Array.from({ length: events }, () => rng() * days * daySeconds).sort();
  const swaps = (swapsPerKey * keys) / 2;
  let swapped = 0;
  const accesses: Access[] = [];
  for (let i = 0; i < events; i++) {
    const due = Math.floor((swaps * times[i]!) / (days * daySeconds));
    for (; swapped < due; swapped++) {
      const a = Math.floor(rng() * keys);
      const b = Math.floor(rng() * keys);
      [keyOfRank[a], keyOfRank[b]] = [keyOfRank[b]!, keyOfRank[a]!];
    }
    const key = String(keyOfRank[draw()]! + 1);
    accesses.push({ key, op: rng() < 0.1 ? 'W' : 'R', at: traceStart + times[i]! });
  }
  return { accesses: inOrder(accesses) };
}
