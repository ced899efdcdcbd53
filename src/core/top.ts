import type { KeyId } from './key.ts';
import { hashUnit } from './rng.ts';

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

/** Leading bits of a double that {@link kthLargestOf} counts by: sign, exponent and six of the mantissa. */
const COUNTED_BITS = 18;

/**
 * The same, leaving `values` as they are; NaN counts as −Infinity. Two passes and next to no memory: one counts the
 * values by their leading bits, the other gathers those that share them with the k-th.
 */
export function kthLargestOf(values: Float64Array, k: number): number {
  // little-endian: the leading half of a number comes second
  const halves = new Int32Array(values.buffer, values.byteOffset, values.length * 2);
  const shift = 32 - COUNTED_BITS;
  const bucketOf = (i: number): number => {
    if (Number.isNaN(values[i]!)) return 0;
    const high = halves[i * 2 + 1]!;
    return (high < 0 ? ~high : high | 0x80000000) >>> shift;
  };
  const counts = new Uint32Array(2 ** COUNTED_BITS);
  for (let i = 0; i < values.length; i++) counts[bucketOf(i)]!++;
  let bucket = counts.length - 1;
  let left = k;
  while (counts[bucket]! < left) left -= counts[bucket--]!;
  const gathered = new Float64Array(counts[bucket]!);
  for (let i = 0, n = 0; n < gathered.length; i++) {
    if (bucketOf(i) === bucket)
      gathered[n++] = Number.isNaN(values[i]!) ? Number.NEGATIVE_INFINITY : values[i]!;
  }
  return kthLargest(gathered, left);
}

function median(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
