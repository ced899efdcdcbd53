import type { Tensorflow } from './backend.ts';
import { type Base, baseExpectation } from './expectation.ts';
import { fitNetwork } from './fit.ts';
import { type Budget, judgeOf } from './judge.ts';
import { disposeNetwork } from './network.ts';
import type { Past } from './past.ts';
import { correct, networkShare, skipColumns } from './predictor.ts';
import { replay } from './replay.ts';
import type { Samples } from './samples.ts';
import { futureOf, samplesAt, type Tried, tried } from './survey.ts';

/** What network and mix did on the validation windows. */
export interface ValidatedNetwork {
  readonly network: Tried;
  readonly mix: Tried;
}

/** Plays the log again and lets a network, trained on what lay before each validation window, choose for it. */
export async function validateNetwork(
  tensorflow: Tensorflow,
  past: Past,
  budgets: readonly Budget[],
  samples: ReadonlyMap<number, Samples>,
  base: Base,
  options: { readonly rows: number; readonly epochs: number },
): Promise<ValidatedNetwork> {
  const { log, spec, schedule, seed, breathe } = past;
  const engine = past.newEngine();
  const validated = { network: tried(), mix: tried() };
  const stops = schedule.validation.map(past.positionOf);
  const skip = skipColumns(spec, base);
  await replay(engine, log, stops, breathe, async (n) => {
    const offset = schedule.validation[n]!;
    const at = past.timeOf(offset);
    const rows = samplesAt(samples, schedule.referencesBefore(offset), options.rows);
    const { network } = await fitNetwork(tensorflow, rows, { skip, seed, breathe, epochs: options.epochs });
    const judge = judgeOf(past, engine, await futureOf(past, engine, offset), budgets);
    for (const name of ['network', 'mix'] as const) {
      const expected = baseExpectation(engine, at, base);
      await correct(tensorflow, network, engine, at, expected, networkShare[name], breathe);
      validated[name].shares.push(judge.expected(expected, validated[name].bins));
    }
    disposeNetwork(network);
  });
  return validated;
}
