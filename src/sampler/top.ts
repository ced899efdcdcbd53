import { quickselect } from 'simple-statistics';
import type { KeyId } from '../core/key.ts';
import { hashUnit } from '../core/rng.ts';

export interface Top {
  /** indices of the chosen rows, in no particular order; at most k */
  readonly chosen: Uint32Array;
  /** the smallest chosen score; 0 when fewer than k rows have a score above 0, so that any signal would get in */
  readonly cut: number;
}

/**
 * The k rows with the highest score above 0, found by selection, not by sorting (there may be millions).
 * Equal scores at the cut are told apart by a hash of the key, so the choice does not depend on the order of the rows.
 *
 * @param taken rows that may not be chosen (1), by index
 */
export function topK(
  scores: Float64Array,
  k: number,
  keys: readonly KeyId[],
  taken: Uint8Array,
  seed: number,
): Top {
  const eligible = new Uint32Array(scores.length);
  let size = 0;
  for (let i = 0; i < scores.length; i++) if (!taken[i] && scores[i]! > 0) eligible[size++] = i;
  if (k <= 0) return { chosen: new Uint32Array(0), cut: Number.POSITIVE_INFINITY };
  if (size < k) return { chosen: eligible.slice(0, size), cut: 0 };

  const values = new Float64Array(size);
  for (let i = 0; i < size; i++) values[i] = scores[eligible[i]!]!;
  const cut = kthLargest(values, k);

  const chosen = new Uint32Array(k);
  const tied: number[] = [];
  let count = 0;
  for (let i = 0; i < size; i++) {
    const row = eligible[i]!;
    if (scores[row]! > cut) chosen[count++] = row;
    else if (scores[row] === cut) tied.push(row);
  }
  chosen.set(lowestHash(tied, k - count, keys, seed), count);
  return { chosen, cut };
}

/** Of the given rows, the `k` that a seeded hash of their keys puts first. */
export function lowestHash(rows: number[], k: number, keys: readonly KeyId[], seed: number): number[] {
  if (rows.length <= k) return rows;
  if (k <= 0) return [];
  const hashes = new Float64Array(rows.length);
  for (let i = 0; i < rows.length; i++) hashes[i] = hashUnit(keys[rows[i]!]!, seed);
  const limit = -kthLargest(
    hashes.map((hash) => -hash),
    k,
  );
  const below = rows.filter((_, i) => hashes[i]! < limit);
  // 32-bit hashes of millions of keys collide: the key itself decides the rest
  const equal = rows.filter((_, i) => hashes[i] === limit).sort((a, b) => (keys[a]! < keys[b]! ? -1 : 1));
  return [...below, ...equal.slice(0, k - below.length)];
}

/** Rearranges `values`. */
export function kthLargest(values: Float64Array, k: number): number {
  const index = values.length - k;
  // typed as number[]; it only reads, writes and asks for the length
  quickselect(values as unknown as number[], index);
  return values[index]!;
}
