import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';

/** A choice of rows; only asked, never listed. */
export interface Selection {
  readonly size: number;
  has(key: KeyId): boolean;
  /** of one that is too large to be held: before these keys are asked about */
  know?(keys: Iterable<KeyId>): Promise<void>;
}

export const rivals = ['shadow', 'random', 'lfu', 'lru', 'ewma'] as const;
export type Rival = (typeof rivals)[number];

export interface CoverageReport {
  /** seconds since the choice */
  readonly window_s: number;
  readonly reads: number;
  readonly hit_share: number;
  readonly random: number;
  readonly lfu: number;
  readonly lru: number;
  readonly ewma: number;
  readonly oracle: number;
}

/**
 * The share of the application's reads that the shadow would have served since it was chosen, beside what simple rules
 * would have served with the same log, the same budget, the same admissions, chosen at the same time; and beside the
 * oracle, which knows the counts afterwards.
 */
export class Coverage {
  readonly #chosenAt: number;
  readonly #budget: number;
  readonly #sets: ReadonlyMap<Rival, Selection>;
  readonly #admitted = new Set<KeyId>();
  readonly #hits: Record<Rival, number> = { shadow: 0, random: 0, lfu: 0, lru: 0, ewma: 0 };
  readonly #counts = new Map<KeyId, number>();
  #reads = 0;
  #until: number;

  constructor(chosenAt: number, budget: number, sets: ReadonlyMap<Rival, Selection>) {
    this.#chosenAt = chosenAt;
    this.#until = chosenAt;
    this.#budget = budget;
    this.#sets = sets;
  }

  /** A row inserted since the choice; every rival admits it. */
  admit(key: KeyId): void {
    this.#admitted.add(key);
  }

  async observe(accesses: readonly Access[]): Promise<void> {
    const read = accesses.filter(({ op, at }) => op === 'R' && at >= this.#chosenAt).map(({ key }) => key);
    for (const set of this.#sets.values()) await set.know?.(read);
    for (const { key, op, at, weight = 1 } of accesses) {
      if (op !== 'R' || at < this.#chosenAt) continue;
      this.#reads += weight;
      this.#until = Math.max(this.#until, at);
      this.#counts.set(key, (this.#counts.get(key) ?? 0) + weight);
      for (const rival of rivals) {
        if (this.#admitted.has(key) || this.#sets.get(rival)?.has(key)) this.#hits[rival] += weight;
      }
    }
  }

  /** null before any read was seen */
  report(): CoverageReport | null {
    if (this.#reads === 0) return null;
    const share = (hits: number) => hits / this.#reads;
    const best = [...this.#counts.values()]
      .sort((a, b) => b - a)
      .slice(0, this.#budget + this.#admitted.size);
    const { shadow, ...others } = this.#hits;
    return {
      window_s: this.#until - this.#chosenAt,
      reads: this.#reads,
      hit_share: share(shadow),
      random: share(others.random),
      lfu: share(others.lfu),
      lru: share(others.lru),
      ewma: share(others.ewma),
      oracle: share(best.reduce((sum, count) => sum + count, 0)),
    };
  }
}
