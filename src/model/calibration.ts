import Type, { type Static } from 'typebox';

/**
 * Scores are counted in bins of half an octave. A short half-life leaves scores far below any count, and their order is
 * all that tells one row from another: so the bins go down to 2^−512. One more holds what is below.
 */
const PER_OCTAVE = 2;
const LOWEST = -512;
const HIGHEST = 24;
const BINS = (HIGHEST - LOWEST) * PER_OCTAVE;

/** How a predictor's scores went with what came in one past window. */
export class WindowBins {
  readonly rows = new Float64Array(BINS + 1);
  readonly scores = new Float64Array(BINS + 1);
  readonly actual = new Float64Array(BINS + 1);
  /** what each choice held, one a budget */
  readonly held: readonly HeldBins[];

  /**
   * @param actual what each row's accesses in the window were worth
   * @param choices positions in `scores`, one list a budget
   */
  constructor(
    scores: ArrayLike<number>,
    actual: ArrayLike<number>,
    choices: readonly ArrayLike<number>[] = [],
  ) {
    for (let i = 0; i < scores.length; i++) {
      const bin = binOf(scores[i]!);
      this.rows[bin]! += 1;
      this.scores[bin]! += scores[i]!;
      this.actual[bin]! += actual[i]!;
    }
    this.held = choices.map((chosen) => {
      const held = { rows: new Float64Array(BINS + 1), scores: new Float64Array(BINS + 1) };
      for (let i = 0; i < chosen.length; i++) {
        const bin = binOf(scores[chosen[i]!]!);
        held.rows[bin]! += 1;
        held.scores[bin]! += scores[chosen[i]!]!;
      }
      return held;
    });
  }
}

interface HeldBins {
  readonly rows: Float64Array;
  readonly scores: Float64Array;
}

const binOf = (score: number): number => {
  if (!(score > 0)) return 0;
  const bin = 1 + Math.floor((Math.log2(score) - LOWEST) * PER_OCTAVE);
  return Math.max(0, Math.min(BINS, bin));
};

/** A monotone, piecewise linear map from a score to a mean count; both arrays ascend. */
export const Calibration = Type.Object({
  score: Type.Array(Type.Number()),
  mean: Type.Array(Type.Number({ minimum: 0 })),
  /** share of a window's accesses on rows that had not been seen when it began, which no choice could hold */
  unseen_share: Type.Number({ minimum: 0, maximum: 1 }),
  /**
   * what the model's own choice realised on past windows, 0–1, and how much that counts beside what the scores let expect;
   * absent where too few windows are known, as is the error
   */
  past: Type.Optional(Type.Object({ share: Type.Number(), weight: Type.Number({ minimum: 0, maximum: 1 }) })),
  /** how far predictions were off on past windows, so many of which are apart: root of the mean square, 0–1 */
  error: Type.Optional(
    Type.Object({ deviation: Type.Number({ minimum: 0 }), windows: Type.Integer({ minimum: 2 }) }),
  ),
});
export type Calibration = Static<typeof Calibration>;

/**
 * A window tells so much more of what comes as the one before it: a log grows, a network learns more, and the latest
 * window alone has enough rows for nearly every bin. The older ones fill what it leaves empty.
 */
const LATER_TELLS = 8;

/**
 * Isotonic regression of counts on scores by pooling adjacent violators (Barlow et al. 1972), over bins weighted by
 * their rows. Without any rows: scores are taken for counts.
 * @param windows earliest first; the later of which tell much more
 */
export function calibrate(windows: readonly WindowBins[], unseenShare: number): Calibration {
  const blocks: { rows: number; scores: number; actual: number }[] = [];
  const weights = windows.map((_, n) => LATER_TELLS ** (n + 1 - windows.length));
  const weighted = (of: 'rows' | 'scores' | 'actual', bin: number) =>
    windows.reduce((sum, window, n) => sum + weights[n]! * window[of][bin]!, 0);
  for (let bin = 0; bin <= BINS; bin++) {
    const rows = weighted('rows', bin);
    if (rows === 0) continue;
    let block = { rows, scores: weighted('scores', bin), actual: weighted('actual', bin) };
    for (;;) {
      const below = blocks.at(-1);
      if (!below || below.actual / below.rows < block.actual / block.rows) break;
      blocks.pop();
      block = {
        rows: below.rows + block.rows,
        scores: below.scores + block.scores,
        actual: below.actual + block.actual,
      };
    }
    blocks.push(block);
  }
  return {
    score: blocks.map(({ rows, scores }) => scores / rows),
    mean: blocks.map(({ rows, actual }) => actual / rows),
    unseen_share: unseenShare,
  };
}

/** Knots further apart than this ratio leave a gap, in which hardly any row was seen. */
const GAP = 2;

/**
 * The mean count at a score: linear between the knots, in proportion above the last, level below the first. In a gap a
 * straight line would give rows just above the lower knot a good part of the upper one's count; a power law does not.
 */
export function calibrated({ score: knots, mean }: Calibration, score: number): number {
  const last = knots.length - 1;
  if (last < 0) return Math.max(0, score);
  if (!(score > knots[0]!)) return mean[0]!;
  if (score >= knots[last]!) return knots[last]! > 0 ? (mean[last]! * score) / knots[last]! : mean[last]!;
  let low = 0;
  let high = last;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (knots[middle]! <= score) low = middle;
    else high = middle;
  }
  const gap = knots[high]! / knots[low]!;
  if (gap > GAP && knots[low]! > 0 && mean[low]! > 0)
    return mean[low]! * (mean[high]! / mean[low]!) ** (Math.log(score / knots[low]!) / Math.log(gap));
  const along = (score - knots[low]!) / (knots[high]! - knots[low]!);
  return mean[low]! + along * (mean[high]! - mean[low]!);
}

/**
 * The share of the next horizon's accesses that chosen rows are expected to get: Σ E[count] over the chosen, by
 * Σ E[count] over all rows seen, less the part that goes to rows not seen yet.
 * @param chosen positions in `scores`
 */
export function expectedHitShare(
  calibration: Calibration,
  scores: ArrayLike<number>,
  chosen: Iterable<number>,
): number {
  let all = 0;
  for (let i = 0; i < scores.length; i++) all += calibrated(calibration, scores[i]!);
  let held = 0;
  for (const i of chosen) held += calibrated(calibration, scores[i]!);
  return all > 0 ? (held / all) * (1 - calibration.unseen_share) : 0;
}
