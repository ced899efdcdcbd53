import { type Rng, seededRng } from '../core/rng.ts';
import type { FeatureEngine } from '../features/engine.ts';
import type { Breathe } from './pace.ts';
import type { FutureCounts } from './windows.ts';

/** Rows of features between two breaths: about five milliseconds. */
const CHUNK = 4096;

/** Training rows, row-major. */
export interface Samples {
  readonly rows: number;
  /** rows × spec.columns */
  readonly features: Float32Array;
  /** rows × 2: log1p of the accesses and changes in the window after the reference time */
  readonly targets: Float32Array;
  /** one over the sampling fraction of the row's half */
  readonly weights: Float32Array;
}

/**
 * Draws up to `limit` of the keys that the engine has seen: half of them with a future, the rest without one, each half
 * weighted by one over its sampling fraction. All of a half that is small enough are taken. The rows come shuffled, so
 * a prefix is a sample too.
 */
export async function drawSamples(
  engine: FeatureEngine,
  now: number,
  future: FutureCounts,
  limit: number,
  seed: number,
  breathe: Breathe,
): Promise<Samples> {
  const rng = seededRng(seed);
  const used: number[] = [];
  const unused: number[] = [];
  for (let slot = 0; slot < engine.size; slot++) (future.accesses[slot]! > 0 ? used : unused).push(slot);
  const half = Math.ceil(limit / 2);
  const takeUsed = Math.min(used.length, Math.max(half, limit - unused.length));
  const takeUnused = Math.min(unused.length, limit - takeUsed);
  const usedWeight = used.length / Math.max(1, takeUsed);
  const unusedWeight = unused.length / Math.max(1, takeUnused);
  const chosen = shuffledPrefix(used, takeUsed, rng).concat(shuffledPrefix(unused, takeUnused, rng));
  const order = shuffledPrefix(
    chosen.map((_, i) => i),
    chosen.length,
    rng,
  );
  const slots = order.map((i) => chosen[i]!);
  const targets = new Float32Array(slots.length * 2);
  slots.forEach((slot, row) => {
    targets[row * 2] = Math.log1p(future.accesses[slot]!);
    targets[row * 2 + 1] = Math.log1p(future.changes[slot]!);
  });
  const weights = Float32Array.from(order, (i) => (i < takeUsed ? usedWeight : unusedWeight));
  const features = new Float32Array(slots.length * engine.spec.columns.length);
  for (let from = 0; from < slots.length; from += CHUNK) {
    await breathe();
    features.set(engine.matrix(now, slots.slice(from, from + CHUNK)), from * engine.spec.columns.length);
  }
  return { rows: slots.length, features, targets, weights };
}

/** Joins samples of several reference times; of each at most `limit` rows, with the weights raised to match. */
export function joinSamples(samples: readonly Samples[], limit: number): Samples {
  const parts = samples.filter((part) => part.rows > 0);
  const columns = parts[0] ? parts[0].features.length / parts[0].rows : 0;
  const kept = parts.map((part) => Math.min(part.rows, limit));
  const rows = kept.reduce((a, b) => a + b, 0);
  const joined = {
    rows,
    features: new Float32Array(rows * columns),
    targets: new Float32Array(rows * 2),
    weights: new Float32Array(rows),
  };
  let at = 0;
  parts.forEach((part, n) => {
    const take = kept[n]!;
    joined.features.set(part.features.subarray(0, take * columns), at * columns);
    joined.targets.set(part.targets.subarray(0, take * 2), at * 2);
    joined.weights.set(
      part.weights.subarray(0, take).map((weight) => (weight * part.rows) / take),
      at,
    );
    at += take;
  });
  return joined;
}

/** The first `count` of a Fisher–Yates shuffle. Reorders `items`. */
export function shuffledPrefix<Item>(items: Item[], count: number, rng: Rng): Item[] {
  for (let i = 0; i < count; i++) {
    const j = i + Math.floor(rng() * (items.length - i));
    const swap = items[i]!;
    items[i] = items[j]!;
    items[j] = swap;
  }
  return items.slice(0, count);
}
