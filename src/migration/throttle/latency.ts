/** 90th percentile of the latest round trips, in ms, and of those without a copy. */
export interface LatencySeen {
  readonly now: number;
  readonly baseline: number;
  /** at which the copy was driven when the slow ones were measured */
  readonly share: number;
}

interface Trip {
  readonly ms: number;
  readonly share: number;
}

/** Round trips that say how things are: the latest ones. */
const kept = 20;
/** Fewer than this say nothing. */
export const enough = 10;
/** Times without the copy that the baseline is taken from. */
const timesKept = 3;

/**
 * How long something takes, now and without the copy. The baseline is measured anew while the copy stands, again and again:
 * so load that comes from elsewhere raises it, and does not hold the copy back for ever. The middle one of the latest three
 * times counts, so that one bad moment says nothing.
 */
export class Latency {
  #now: Trip[] = [];
  #without: number[] = [];
  #times: number[];

  /** @param known the baseline of an earlier process, in ms */
  constructor(known: number | null) {
    this.#times = known === null ? [] : [known];
  }

  /**
   * @param copying whether anything worth mentioning was copied meanwhile
   * @param share at which the copy is driven
   */
  add(ms: readonly number[], copying: boolean, share: number): void {
    this.#now = [...this.#now, ...ms.map((each) => ({ ms: each, share }))].slice(-kept);
    if (copying) return;
    this.#without = [...this.#without, ...ms];
    if (this.#without.length < enough) return;
    this.#times = [...this.#times, percentile90(this.#without)].slice(-timesKept);
    this.#without = [];
  }

  get measured(): LatencySeen | null {
    const { baseline } = this;
    if (baseline === null || this.#now.length < enough) return null;
    const now = percentile90(this.#now.map(({ ms }) => ms));
    const slow = this.#now.filter(({ ms }) => ms >= now);
    return { now, baseline, share: slow.reduce((sum, { share }) => sum + share, 0) / slow.length };
  }

  get baseline(): number | null {
    const sorted = [...this.#times].sort((a, b) => a - b);
    return sorted[(sorted.length - 1) >> 1] ?? null;
  }

  /** whether a bad moment could still be taken for the baseline */
  get young(): boolean {
    return this.#times.length < timesKept;
  }
}

/** Below this share a stand costs next to nothing; what is still slow is hardly the copy's doing, and to know is worth more. */
const lowShare = 0.25;

/**
 * While the copy is at work it stands for one look this often, to see how things are without it.
 * @param young whether a single bad moment could be taken for how things are
 * @param share at which the copy is driven
 * @returns seconds
 */
export const standEvery = (young: boolean, share: number) => (young || share < lowShare ? 5 : 30);

export function percentile90(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(0.9 * sorted.length) - 1] ?? Number.NaN;
}
