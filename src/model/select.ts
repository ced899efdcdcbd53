import { LEAST_WINDOWS } from './schedule.ts';

/**
 * What can score rows. `group` is a row's share of its group's forecast; `nudge`, `mix` and `network` go a quarter of the
 * way, half of it, and all of it from what the network corrects to what it says, in log space.
 */
export const predictorNames = ['lfu', 'ewma', 'group', 'network', 'mix', 'nudge'] as const;
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

/** So much later, in windows, and a window tells twice as much: by then a log has grown, and a network learnt more. */
const DOUBLES_IN = 4;

/**
 * Step aside: the EWMA chooses unless another predictor's mean paired gain in hit share exceeds one standard error;
 * then the one with the largest mean gain does. The further one goes, the more it has to show: the network, which goes
 * the whole way where `mix` goes half of it, as many errors as Student's t asks for with so few windows. A nudge, which
 * changes little, stands in for the EWMA where nothing proved itself and its own mean gain is no loss.
 * @param shares hit shares by predictor, one a window, in the same order for all, earliest first
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
    const proved = name !== 'nudge' && gain.mean > errors * gain.standardError;
    if (proved && gain.mean > (gains[best]?.mean ?? 0)) best = name;
  }
  const said = ({ mean, standardError, windows }: Gain) =>
    `by ${mean.toFixed(4)} of the accesses at and around the budget, its standard error being ${standardError.toFixed(4)}, on ${windows} past windows`;
  const won = gains[best];
  if (won) return { predictor: best, reason: `${best} beats the EWMA ${said(won)}`, gains };
  const none = 'no other predictor beats the EWMA by enough, beside its standard error';
  const { nudge } = gains;
  if (nudge && nudge.mean > 0)
    return { predictor: 'nudge', reason: `${none}; a quarter of the network does ${said(nudge)}`, gains };
  return { predictor: 'ewma', reason: `${none}, on ${ewma.length} past windows`, gains };
}

/** Mean over past windows, earliest first, the later of which tell more. */
export function pastMean(values: readonly number[]): number {
  const weights = weightsOf(values);
  return weighted(values, weights) / total(weights);
}

const weightsOf = (values: readonly number[]) =>
  values.map((_, i) => 2 ** ((i + 1 - values.length) / DOUBLES_IN));
const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const weighted = (values: readonly number[], weights: readonly number[]) =>
  total(values.map((value, i) => value * weights[i]!));

function pairedGain(own: readonly number[], base: readonly number[], separate: number): Gain {
  const differences = own.map((share, i) => share - base[i]!);
  const weights = weightsOf(differences);
  const mean = pastMean(differences);
  const squares = differences.map((difference) => (difference - mean) ** 2);
  // as many windows of equal weight would tell as much
  const effective = total(weights) ** 2 / weighted(weights, weights);
  const variance = (pastMean(squares) * effective) / (effective - 1);
  const windows = differences.length;
  return { mean, standardError: Math.sqrt((variance * windows) / (effective * separate)), windows };
}
