import type { KeyId } from '../core/key.ts';

/** The three signals about every known row, as parallel arrays: there may be millions of keys. All values ≥ 0. */
export interface Signals {
  readonly keys: readonly KeyId[];
  /** expected accesses in the next horizon, changes weighted */
  readonly predictive: Float64Array;
  /** long-run decayed access count */
  readonly frequency: Float64Array;
  /** changes per second, or any other scale: only the order and the share of the sum count */
  readonly change: Float64Array;
}

/** Shares of the budget that sum to one, as in the migration file's shadow.weights. */
export interface BlendWeights {
  readonly predictive: number;
  readonly frequency: number;
  readonly change: number;
  readonly random: number;
}

/** In the order in which they fill the budget: each takes from what the ones before it left. */
export const rankedStrata = ['predictive', 'frequency', 'change'] as const;
export type RankedStratum = (typeof rankedStrata)[number];
