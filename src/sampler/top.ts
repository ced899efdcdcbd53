import type { KeyId } from '../core/key.ts';
import { kthLargest, lowestHash } from '../core/top.ts';

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
