import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import type { Selection } from './coverage.ts';

/** A hit share that was promised, and the least that would still keep the promise. 0–1 */
export interface Promised {
  readonly predicted: number;
  readonly lower: number;
}

/** The plain rules that a model must not lose to. */
export const plainRules = ['lfu', 'ewma'] as const;
export type PlainRule = (typeof plainRules)[number];

export interface TrialOptions {
  /** when all of them chose, seconds since the epoch */
  readonly at: number;
  /** the model's own choice and the plain rules', each for the same number of rows */
  readonly model: Selection;
  readonly rules: ReadonlyMap<PlainRule, Selection>;
  /** what the model is expected to hit with its choice; null when that cannot be said */
  readonly expected: Promised | null;
  /** what a change counts beside a read */
  readonly changeWeight: number;
}

/** Sums over keys, with c what a key's accesses were worth, h whether the model held it, d = h − whether the rule did. */
export interface TrialSums {
  /** seconds since the epoch: of the choice, and of the latest access */
  readonly at: number;
  readonly until: number;
  readonly accesses: number;
  readonly expected: Promised | null;
  /** Σ c */
  readonly worth: number;
  /** Σ c² */
  readonly squares: number;
  /** Σ c·h and Σ c²·h */
  readonly model: { readonly worth: number; readonly squares: number };
  /** Σ c·d, Σ c²·d, Σ c²·d² */
  readonly rules: Readonly<
    Record<PlainRule, { readonly worth: number; readonly squares: number; readonly apart: number }>
  >;
}

/**
 * What the model's choice of rows has realised since it was made, beside what plain rules would have with the same log,
 * the same number of rows, and the same time of choice. It is not the shadow that is judged: parts of that are given to
 * chance, frequency and change on purpose. Rows that nobody knew at the time count as missed by all.
 */
export class Trial {
  readonly #options: TrialOptions;
  readonly #worth = new Map<KeyId, number>();
  #accesses = 0;
  #until: number;

  constructor(options: TrialOptions) {
    this.#options = options;
    this.#until = options.at;
  }

  /** Takes in accesses, in any order; those from before the choice are passed over. */
  observe(accesses: readonly Access[]): void {
    const { at: from, changeWeight } = this.#options;
    for (const { key, op, at, weight = 1 } of accesses) {
      if (at < from) continue;
      this.#accesses += 1;
      this.#until = Math.max(this.#until, at);
      this.#worth.set(key, (this.#worth.get(key) ?? 0) + weight * (op === 'W' ? changeWeight : 1));
    }
  }

  sums(): TrialSums {
    const { at, model, rules, expected } = this.#options;
    const sums = {
      at,
      until: this.#until,
      accesses: this.#accesses,
      expected,
      worth: 0,
      squares: 0,
      model: { worth: 0, squares: 0 },
      rules: { lfu: { worth: 0, squares: 0, apart: 0 }, ewma: { worth: 0, squares: 0, apart: 0 } },
    };
    for (const [key, c] of this.#worth) {
      const h = model.has(key) ? 1 : 0;
      sums.worth += c;
      sums.squares += c * c;
      sums.model.worth += c * h;
      sums.model.squares += c * c * h;
      for (const rule of plainRules) {
        const d = h - (rules.get(rule)?.has(key) ? 1 : 0);
        sums.rules[rule].worth += c * d;
        sums.rules[rule].squares += c * c * d;
        sums.rules[rule].apart += c * c * d * d;
      }
    }
    return sums;
  }
}
