/** Round trips that say how things are: the latest ones. */
const kept = 20;
/** Fewer than this say nothing. */
const enough = 10;
/** Round trips that say how things are without us. */
const baselineKept = 60;

/**
 * The application's latency, by a probe, now and without the copy. What is measured while nothing is copied, or next to
 * nothing, is the baseline: so load that comes from elsewhere raises it, and does not hold the copy back for ever.
 */
export class Latency {
  #now: number[] = [];
  #without: number[] = [];
  #baseline: number | null;

  /** @param known the baseline of an earlier process, in ms */
  constructor(known: number | null) {
    this.#baseline = known;
  }

  /** @param copying whether anything worth mentioning was copied meanwhile */
  add(ms: readonly number[], copying: boolean): void {
    this.#now = [...this.#now, ...ms].slice(-kept);
    if (copying) {
      this.#without = [];
      return;
    }
    this.#without = [...this.#without, ...ms].slice(-baselineKept);
    if (this.#without.length >= enough) this.#baseline = percentile90(this.#without);
  }

  get measured(): { readonly now: number; readonly baseline: number } | null {
    if (this.#baseline === null || this.#now.length < enough) return null;
    return { now: percentile90(this.#now), baseline: this.#baseline };
  }

  get baseline(): number | null {
    return this.#baseline;
  }
}

export function percentile90(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(0.9 * sorted.length) - 1] ?? Number.NaN;
}
