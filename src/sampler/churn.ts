import type { KeyId } from '../core/key.ts';
import { kthLargest } from '../core/top.ts';

export interface ChurnInput {
  /** rows that a ranking chose and that were not in A, with score ÷ cut of their stratum (≥ 1) */
  readonly entering: readonly { readonly key: KeyId; readonly margin: number }[];
  /** members of A that no ranking chose, with the best score ÷ cut over the strata (< 1; 0 without a signal) */
  readonly leaving: readonly { readonly key: KeyId; readonly margin: number }[];
  /** most rows that may leave A in one pass */
  readonly limit: number;
}

/**
 * Bounds the work of a pass: no more than `limit` rows leave A, and as many of the weakest newcomers wait as leavers
 * stay, so A does not outgrow its budget. Rows that enter a budget not yet filled displace nobody and are not held
 * back. Margins are ratios to the cut, because scores of different strata have different units.
 */
export function limitChurn({ entering, leaving, limit }: ChurnInput): { kept: KeyId[]; heldBack: KeyId[] } {
  const stay = Math.max(0, leaving.length - Math.max(0, Math.floor(limit)));
  return { kept: strongest(leaving, stay), heldBack: weakest(entering, stay) };
}

type Ranked = readonly { readonly key: KeyId; readonly margin: number }[];

const weakest = (rows: Ranked, k: number) =>
  strongest(
    rows.map(({ key, margin }) => ({ key, margin: -margin })),
    k,
  );

function strongest(rows: Ranked, k: number): KeyId[] {
  if (k <= 0) return [];
  if (k >= rows.length) return rows.map((row) => row.key);
  const cut = kthLargest(
    Float64Array.from(rows, (row) => row.margin),
    k,
  );
  const above = rows.filter((row) => row.margin > cut).map((row) => row.key);
  const at = rows.filter((row) => row.margin === cut).map((row) => row.key);
  return [...above, ...at.sort().slice(0, k - above.length)];
}
