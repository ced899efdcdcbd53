import type { FeatureEngine } from '../features/engine.ts';
import { WindowBins } from './calibration.ts';
import { type Expectation, worth, worths } from './expectation.ts';
import type { Past } from './past.ts';
import { topPositions } from './top.ts';
import type { FutureCounts } from './windows.ts';

/** How many rows a choice may hold, when so many keys are known. */
export type Budget = (seen: number) => number;

/** Lets scores choose among the keys seen so far, and tells the share of a window's accesses that they hit. */
export interface Judge {
  /** rows of a choice, one a budget */
  readonly rows: readonly number[];
  /** hit share, one a budget */
  scores(scores: ArrayLike<number>): number[];
  expected(expected: Expectation): Judged;
  oracle(): number[];
  /** share of the window's accesses on rows that had not been seen */
  readonly unseenShare: number;
}

/** What one way of scoring did in a window. */
export interface Judged {
  /** hit share, one a budget */
  readonly shares: number[];
  readonly bins: WindowBins;
}

export function judgeOf(
  { changeWeight, seed }: Past,
  engine: FeatureEngine,
  future: FutureCounts,
  budgets: readonly Budget[],
): Judge {
  const values = worths(future, changeWeight);
  const total = worth(future.allAccesses, future.allChanges, changeWeight);
  const rows = budgets.map((budget) => Math.min(budget(engine.size), engine.size));
  const choices = (ranking: ArrayLike<number>) =>
    rows.map((count) => topPositions(engine.keys(), ranking, count, seed));
  const shareOf = (chosen: Uint32Array) => {
    let hits = 0;
    for (const slot of chosen) hits += values[slot]!;
    return total > 0 ? hits / total : 0;
  };
  const scores = (ranking: ArrayLike<number>) => choices(ranking).map(shareOf);
  return {
    rows,
    scores,
    expected: (expected) => {
      const ranking = worths(expected, changeWeight);
      const chosen = choices(ranking);
      return { shares: chosen.map(shareOf), bins: new WindowBins(ranking, values, chosen) };
    },
    oracle: () => scores(values),
    unseenShare: total > 0 ? Math.max(0, 1 - values.reduce((a, b) => a + b, 0) / total) : 0,
  };
}
