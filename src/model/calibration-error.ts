import {
  type Calibration,
  type CalibrationError,
  calibrate,
  calibrated,
  type WindowBins,
} from './calibration.ts';

/** A past window, and what one predictor's choice for it would have been expected to hit, and did. */
export interface JudgedWindow {
  /** horizons before T */
  readonly offset: number;
  readonly bins: WindowBins;
  /** share of its accesses on rows that had not been seen when it began */
  readonly unseenShare: number;
  /** hit share of the choice */
  readonly realised: number;
}

/**
 * How far off predicted hit shares are, by cross-validation: what each past window realised, less what a map predicts for
 * it that was fitted on all windows that do not overlap it. A spread of phases shows here, which no fit can take away.
 * @param windows earliest first
 * @param budget index of the choice in the bins
 * @returns undefined when no two windows are apart
 */
export function calibrationError(
  windows: readonly JudgedWindow[],
  budget: number,
): CalibrationError | undefined {
  const squares: number[] = [];
  for (const window of windows) {
    const others = windows.filter(({ offset }) => Math.abs(offset - window.offset) >= 1);
    // as in earnest: the share of unseen rows is that of the window before; the first has only later ones
    const near = others.findLast(({ offset }) => offset > window.offset) ?? others[0];
    if (!near) continue;
    const map = calibrate(
      others.map(({ bins }) => bins),
      near.unseenShare,
    );
    squares.push((window.realised - expectedOf(map, window.bins, budget)) ** 2);
  }
  const apart = windowsApart(windows.map(({ offset }) => offset));
  if (apart < 2) return undefined;
  const deviation = Math.sqrt(squares.reduce((a, b) => a + b, 0) / squares.length);
  return { deviation, windows: apart };
}

/** How many of the windows can be taken so that no two overlap. @param offsets descending */
function windowsApart(offsets: readonly number[]): number {
  let count = 0;
  let last = Number.POSITIVE_INFINITY;
  for (const offset of offsets) {
    if (last - offset < 1) continue;
    count += 1;
    last = offset;
  }
  return count;
}

/** `expectedHitShare` of a choice whose scores are known by bin. */
function expectedOf(map: Calibration, { rows, scores, held }: WindowBins, budget: number): number {
  const of = (counts: Float64Array, sums: Float64Array) =>
    counts.reduce(
      (sum, count, bin) => (count > 0 ? sum + count * calibrated(map, sums[bin]! / count) : sum),
      0,
    );
  const all = of(rows, scores);
  const own = held[budget]!;
  return all > 0 ? (of(own.rows, own.scores) / all) * (1 - map.unseen_share) : 0;
}

/** Four in five of Student's t lie within ± this, with 1, 2, 3 … degrees of freedom. */
const FOUR_IN_FIVE = [3.08, 1.89, 1.64, 1.53, 1.48, 1.44, 1.41, 1.4] as const;

/** Where a realised hit share lies four times in five; everywhere, when nothing is known of the error. 0–1 */
export interface Interval {
  readonly lower: number;
  readonly upper: number;
}

export function hitShareInterval({ error }: Calibration, predicted: number): Interval {
  if (!error) return { lower: 0, upper: 1 };
  const reach = error.deviation * (FOUR_IN_FIVE[error.windows - 1] ?? 1.28);
  return { lower: Math.max(0, predicted - reach), upper: Math.min(1, predicted + reach) };
}
