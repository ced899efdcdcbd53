import { sampleStandardDeviation } from 'simple-statistics';
import { LEAST_WINDOWS } from './schedule.ts';

/**
 * What can score rows. `group` is a row's share of its group's forecast; `mix` is the mean, in log space, of the
 * network and of what it corrects.
 */
export const predictorNames = ['lfu', 'ewma', 'group', 'network', 'mix'] as const;
export type PredictorName = (typeof predictorNames)[number];

/** How a predictor did against the EWMA on the same past windows. */
export interface Gain {
  readonly mean: number;
  readonly standardError: number;
  readonly windows: number;
}

export interface Choice {
  readonly predictor: PredictorName;
  readonly reason: string;
  readonly gains: Partial<Record<PredictorName, Gain>>;
}

/**
 * How many standard errors are as unlikely as one of a normal distribution (one-sided 0.841), when the error itself comes
 * from few windows: Student's t with 2, 3, 4 … degrees of freedom.
 */
const STUDENT = [1.32, 1.2, 1.14, 1.11, 1.09] as const;

/**
 * Step aside: the EWMA chooses unless another predictor's mean paired gain in hit share exceeds one standard error;
 * then the one with the largest mean gain does. The network goes the whole way where `mix` goes half of it, and has to
 * show a little more: so many errors as Student's t asks for with so few windows.
 * @param shares hit shares by predictor, one a window, in the same order for all
 * @param separate how many of the windows do not overlap; only those make the standard error smaller
 */
export function choosePredictor(
  shares: Readonly<Partial<Record<PredictorName, readonly number[]>>>,
  separate: number = shares.ewma?.length ?? 0,
): Choice {
  const ewma = shares.ewma ?? [];
  const gains: Partial<Record<PredictorName, Gain>> = {};
  if (ewma.length < LEAST_WINDOWS) {
    const reason = `validating needs ${LEAST_WINDOWS} past windows; the log holds ${ewma.length}`;
    return { predictor: 'ewma', reason, gains };
  }
  let best: PredictorName = 'ewma';
  for (const name of predictorNames) {
    const own = shares[name];
    if (name === 'ewma' || own?.length !== ewma.length) continue;
    const gain = pairedGain(own, ewma, separate);
    gains[name] = gain;
    const errors = name === 'network' ? (STUDENT[separate - LEAST_WINDOWS] ?? 1.09) : 1;
    if (gain.mean > errors * gain.standardError && gain.mean > (gains[best]?.mean ?? 0)) best = name;
  }
  const won = gains[best];
  const reason = won
    ? `${best} beats the EWMA by ${won.mean.toFixed(4)} of the accesses, its standard error being ${won.standardError.toFixed(4)}, on ${won.windows} past windows`
    : `no other predictor beats the EWMA by enough, beside its standard error, on ${ewma.length} past windows`;
  return { predictor: best, reason, gains };
}

function pairedGain(own: readonly number[], base: readonly number[], separate: number): Gain {
  const differences = own.map((share, i) => share - base[i]!);
  const windows = differences.length;
  const mean = differences.reduce((a, b) => a + b, 0) / windows;
  return { mean, standardError: sampleStandardDeviation(differences) / Math.sqrt(separate), windows };
}
