import type { KeyId } from '../core/key.ts';
import { kthLargestOf, lowestHash } from '../core/top.ts';

/**
 * The positions of the `rows` highest scores. Ties are broken by the seeded hash of the key (then by the key), never
 * by position, so the order in which keys came plays no part. A score that is not a number ranks last.
 *
 * A selection, not a sort, and no copy; the hash is computed only for keys that tie at the boundary.
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
  const values = scores instanceof Float64Array ? scores : Float64Array.from(scores);
  const threshold = kthLargestOf(values.subarray(0, keys.length), count);
  const chosen = new Uint32Array(count);
  const tied: number[] = [];
  let filled = 0;
  for (let i = 0; i < keys.length; i++) {
    const score = values[i]!;
    if (score > threshold) chosen[filled++] = i;
    else if (score === threshold || (Number.isNaN(score) && threshold === Number.NEGATIVE_INFINITY)) {
      tied.push(i);
    }
  }
  for (const i of lowestHash(tied, count - filled, keys, seed)) chosen[filled++] = i;
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
