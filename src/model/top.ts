import type { KeyId } from '../core/key.ts';
import { hashUnit } from '../core/rng.ts';

/**
 * The positions of the `rows` highest scores. Ties are broken by the seeded hash of the key (then by the key), never
 * by position, so the order in which keys came plays no part. A score that is not a number ranks last.
 *
 * Quickselect, not a sort: linear on average, and the hash is computed only for keys that tie at the boundary.
 *
 * @returns positions into `keys`, ascending
 */
export function topPositions(
  keys: readonly KeyId[],
  scores: ArrayLike<number>,
  rows: number,
  seed: number,
): Uint32Array {
  const count = Math.max(0, Math.min(rows, keys.length));
  if (count === keys.length) return Uint32Array.from(keys.keys());
  if (count === 0) return new Uint32Array(0);
  const values = new Float64Array(keys.length);
  for (let i = 0; i < values.length; i++) values[i] = ranked(scores[i]!);
  const threshold = kthLargest(values.slice(), count);
  const chosen = new Uint32Array(count);
  const tied: number[] = [];
  let filled = 0;
  for (let i = 0; i < values.length; i++) {
    if (values[i]! > threshold) chosen[filled++] = i;
    else if (values[i] === threshold) tied.push(i);
  }
  for (const i of smallestHashes(keys, tied, count - filled, seed)) chosen[filled++] = i;
  return chosen.sort();
}

/** The `rows` keys with the highest scores, ties broken as in {@link topPositions}. */
export function chooseTop(
  keys: readonly KeyId[],
  scores: ArrayLike<number>,
  rows: number,
  seed: number,
): Set<KeyId> {
  const chosen = new Set<KeyId>();
  for (const position of topPositions(keys, scores, rows, seed)) chosen.add(keys[position]!);
  return chosen;
}

const ranked = (score: number): number => (Number.isNaN(score) ? Number.NEGATIVE_INFINITY : score);

function smallestHashes(keys: readonly KeyId[], tied: number[], wanted: number, seed: number): number[] {
  if (wanted === tied.length) return tied;
  const hashes = new Float64Array(tied.length);
  for (let n = 0; n < hashes.length; n++) hashes[n] = -hashUnit(keys[tied[n]!]!, seed);
  const threshold = kthLargest(hashes.slice(), wanted);
  const chosen = tied.filter((_, n) => hashes[n]! > threshold);
  const equal = tied.filter((_, n) => hashes[n] === threshold);
  equal.sort((a, b) => (keys[a]! < keys[b]! ? -1 : 1));
  return chosen.concat(equal.slice(0, wanted - chosen.length));
}

/**
 * The k-th largest value, 1 ≤ k ≤ length. Reorders `values`. Hoare's selection with a three-way partition: scores
 * hold long runs of equal values (all rows that were never used), which a two-way partition takes in quadratic time.
 */
export function kthLargest(values: Float64Array, k: number): number {
  let low = 0;
  let high = values.length - 1;
  const target = k - 1;
  while (low < high) {
    const pivot = median(values[low]!, values[(low + high) >>> 1]!, values[high]!);
    let larger = low;
    let smaller = high;
    for (let i = low; i <= smaller; ) {
      const value = values[i]!;
      if (value > pivot) {
        values[i++] = values[larger]!;
        values[larger++] = value;
      } else if (value < pivot) {
        values[i] = values[smaller]!;
        values[smaller--] = value;
      } else i++;
    }
    if (target < larger) high = larger - 1;
    else if (target > smaller) low = smaller + 1;
    else return pivot;
  }
  return values[low]!;
}

function median(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
