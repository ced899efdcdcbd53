/** Most bins that a distribution is counted in; source statistics are kept this fine and coarsened as m asks. */
export const finestBins = 20;

/** Bins that m random members can carry: some 200 rows a bin, or noise alone would look like distance. */
export function binCount(m: number): number {
  return Math.min(finestBins, Math.max(4, Math.floor(m / 200)));
}

/**
 * Numbers and times (as float8): bin 0 = NULL, 1…H = the heavy values, then the E + 1 ranges between the edges
 * (edge i ≤ value < edge i + 1, as width_bucket counts).
 */
export interface QuantileBins {
  readonly type: 'quantile';
  /** as PostgreSQL prints float8, so that NaN and the infinities survive JSON */
  readonly heavy: readonly string[];
  readonly edges: readonly string[];
}

/** Categories: bin 0 = NULL, 1…L = the frequent values by frequency, then one for all others. */
export interface FrequentBins {
  readonly type: 'frequent';
  readonly labels: readonly string[];
}

export type Bins = QuantileBins | FrequentBins;

/** The percentiles to ask the source for: twice as fine as the bins, so that a value heavier than a bin shows twice. */
export const askedPercentiles: readonly number[] = Array.from(
  { length: 2 * finestBins - 1 },
  (_, i) => (i + 1) / (2 * finestBins),
);

/**
 * Bins from the source's percentiles at {@link askedPercentiles}. A value that fills the space between two of them is
 * heavy (each value with a share ≥ 1/20 is caught) and gets a bin of its own: as an edge it would tip with noise.
 */
export function quantileBins(percentiles: readonly string[]): QuantileBins {
  const heavy = new Set<string>();
  for (let i = 1; i < percentiles.length; i++) {
    if (percentiles[i] === percentiles[i - 1]) heavy.add(percentiles[i]!);
  }
  // NaN has no place among the edges: nothing compares with it
  const edges = percentiles.filter((value, i) => i % 2 === 1 && value !== 'NaN');
  return { type: 'quantile', heavy: [...heavy], edges: [...new Set(edges)] };
}

export function sizeOf(bins: Bins): number {
  return bins.type === 'quantile' ? bins.heavy.length + bins.edges.length + 2 : bins.labels.length + 2;
}

/**
 * Merges fine bins into about `k`: neighbouring ranges together, rare labels into "other". NULL and the heavy values
 * keep their own.
 * @returns for each fine bin the number of the coarse one, and how many of these there are
 */
export function coarsening(bins: Bins, k: number): { readonly to: Uint16Array; readonly size: number } {
  const fine = sizeOf(bins);
  const to = Uint16Array.from({ length: fine }, (_, i) => i);
  const own = bins.type === 'quantile' ? 1 + bins.heavy.length : 1;
  const rest = fine - own;
  if (rest <= k) return { to, size: fine };
  for (let i = 0; i < rest; i++) {
    to[own + i] = own + (bins.type === 'quantile' ? Math.floor((i * k) / rest) : Math.min(i, k - 1));
  }
  return { to, size: own + k };
}

export function coarsen(counts: Float64Array, { to, size }: { to: Uint16Array; size: number }): Float64Array {
  const coarse = new Float64Array(size);
  for (let i = 0; i < counts.length; i++) coarse[to[i]!]! += counts[i]!;
  return coarse;
}
