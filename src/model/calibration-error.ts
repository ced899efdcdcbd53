import { type Calibration, calibrate, calibrated, type WindowBins } from './calibration.ts';

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

/** What past windows say of predicted hit shares: nothing, when no two of them are apart. */
export type Hindsight = Pick<Calibration, 'past' | 'error'>;

/** So much later, in windows, and what a window realised counts twice. */
const DOUBLES_IN = 2;
/** A weight that is fitted to a handful of windows is believed half. */
const BELIEVED = 0.5;

/**
 * Two predictions of a hit share, the map's for the scores and the mean of what past windows realised, are combined with
 * the weight that would have been best there; and how far off the result is. All by cross-validation: what a window
 * realised is held against what all that do not overlap it say. A spread of phases shows here, which no fit can take away.
 * @param windows earliest first
 * @param budget index of the choice in the bins
 */
export function hindsightOf(windows: readonly JudgedWindow[], budget: number): Hindsight {
  const apart = windowsApart(windows.map(({ offset }) => offset));
  if (apart < 2) return {};
  const errors = windows.flatMap((window) => {
    const others = windows.filter(({ offset }) => Math.abs(offset - window.offset) >= 1);
    // as in earnest: the share of unseen rows is that of the window before; the first has only later ones
    const near = others.findLast(({ offset }) => offset > window.offset) ?? others[0];
    if (!near) return [];
    const map = calibrate(
      others.map(({ bins }) => bins),
      near.unseenShare,
    );
    const byMap = window.realised - expectedOf(map, window.bins, budget);
    return [{ byMap, byPast: window.realised - realisedOf(others) }];
  });
  const sum = (of: (error: (typeof errors)[number]) => number) =>
    errors.reduce((total, error) => total + of(error), 0);
  const squares = sum(({ byMap, byPast }) => (byPast - byMap) ** 2);
  const best = squares > 0 ? sum(({ byMap, byPast }) => byMap * (byMap - byPast)) / squares : 0;
  const weight = BELIEVED * Math.max(0, Math.min(1, best));
  const meanSquare = sum(({ byMap, byPast }) => (byMap + weight * (byPast - byMap)) ** 2) / errors.length;
  return {
    past: { share: realisedOf(windows), weight },
    error: { deviation: Math.sqrt(meanSquare), windows: apart },
  };
}

/** Mean of what windows realised, the later of which tell more. @param windows earliest first */
function realisedOf(windows: readonly JudgedWindow[]): number {
  const weights = windows.map((_, n) => 2 ** (n / DOUBLES_IN));
  const weighted = windows.reduce((sum, { realised }, n) => sum + weights[n]! * realised, 0);
  return weighted / weights.reduce((a, b) => a + b, 0);
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

/** A hit share, and where the realised one lies four times in five: anywhere, when nothing is known of the error. 0–1 */
export interface Foretold {
  readonly predicted: number;
  readonly lower: number;
  readonly upper: number;
}

/**
 * What the choice that a model was trained for is expected to hit.
 * @param byScores the calibration's `expectedHitShare` of it
 */
export function foretell({ past, error }: Calibration, byScores: number): Foretold {
  const predicted = past ? byScores + past.weight * (past.share - byScores) : byScores;
  if (!error) return { predicted, lower: 0, upper: 1 };
  const reach = error.deviation * (FOUR_IN_FIVE[error.windows - 1] ?? 1.28);
  return { predicted, lower: Math.max(0, predicted - reach), upper: Math.min(1, predicted + reach) };
}
