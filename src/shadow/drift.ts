import { type PlainRule, type Promised, plainRules, type TrialSums } from './trial.ts';

/** Fewer accesses than these say nothing about a model. */
export const fewestForDrift = 1000;
/** Less than this share of the accesses is not worth a training. */
export const leastDrift = 0.05;
/** What chance can do is this many standard errors. */
const standardErrors = 3;

/** A model that has come to realise clearly less than it should. Shares are of what the accesses were worth, 0–1. */
export interface Drift {
  /** one sentence with the figures */
  readonly message: string;
  readonly realised: number;
  /** what realised, or was predicted to realise, more */
  readonly against: PlainRule | 'prediction';
  readonly other: number;
  readonly standard_error: number;
  readonly accesses: number;
  /** seconds since the epoch */
  readonly from: number;
  readonly until: number;
}

/**
 * Whether the model's choices have lately realised less than the better plain rule, or than was predicted: by more than
 * 5 points and 3 standard errors, over at least 1000 accesses. What lies in the interval of a prediction is what past
 * windows let expect, and no drift. Differences are paired by key, since all accesses of one key hit or miss together;
 * trials count as independent.
 * @returns null when there is no such thing, or too little to tell
 */
export function driftOf(trials: readonly TrialSums[]): Drift | null {
  const accesses = total(trials, (trial) => trial.accesses);
  const worth = total(trials, (trial) => trial.worth);
  if (accesses < fewestForDrift || !(worth > 0)) return null;
  const realised = total(trials, (trial) => trial.model.worth) / worth;
  const squares = total(trials, (trial) => trial.squares);
  const found: Omit<Drift, 'message'>[] = [];
  const span = {
    accesses,
    from: Math.min(...trials.map(({ at }) => at)),
    until: Math.max(...trials.map(({ until }) => until)),
  };

  for (const rule of plainRules) {
    const of = (part: 'worth' | 'squares' | 'apart') => total(trials, ({ rules }) => rules[rule][part]);
    const mean = of('worth') / worth;
    const variance = of('apart') - 2 * mean * of('squares') + mean * mean * squares;
    const standard_error = Math.sqrt(Math.max(0, variance)) / worth;
    found.push({ ...span, realised, against: rule, other: realised - mean, standard_error });
  }
  if (trials.every(({ expected }) => expected !== null)) {
    const promised = (part: keyof Promised) =>
      total(trials, (trial) => trial.expected![part] * trial.worth) / worth;
    const other = promised('predicted');
    const hits = total(trials, ({ model }) => model.squares);
    const variance = hits * (1 - 2 * realised) + realised * realised * squares;
    const standard_error = Math.sqrt(Math.max(0, variance)) / worth;
    if (realised < promised('lower'))
      found.push({ ...span, realised, against: 'prediction', other, standard_error });
  }

  const clear = found.filter(
    ({ other, standard_error }) =>
      other - realised > leastDrift && other - realised > standardErrors * standard_error,
  );
  const worst = clear.sort((a, b) => b.other - a.other)[0];
  return worst ? { ...worst, message: sentence(worst) } : null;
}

const names = {
  lfu: 'LFU would have with as many rows',
  ewma: 'the plain EWMA would have with as many rows',
  prediction: 'was predicted when it was trained',
};

function sentence({ realised, against, other, standard_error, accesses }: Omit<Drift, 'message'>): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return (
    `the model's rows got ${percent(realised)} of the latest ${accesses} accesses, less than the ` +
    `${percent(other)} that ${names[against]} (standard error ${percent(standard_error)})`
  );
}

const total = (trials: readonly TrialSums[], of: (trial: TrialSums) => number) =>
  trials.reduce((sum, trial) => sum + of(trial), 0);
