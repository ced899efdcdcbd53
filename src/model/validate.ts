import type { Tensorflow } from './backend.ts';
import type { Base } from './expectation.ts';
import { fitNetwork } from './fit.ts';
import { type Budget, judgeOf } from './judge.ts';
import { disposeNetwork, type Network } from './network.ts';
import type { Past } from './past.ts';
import { type Correcting, correct, networkShare, skipColumns } from './predictor.ts';
import type { Recipe } from './recipe.ts';
import { replay } from './replay.ts';
import type { Samples } from './samples.ts';
import { futureOf, noteTrial, samplesAt, type Tried, tried } from './survey.ts';

/** What a network did on the validation windows, by how much of it counts. */
export type ValidatedNetwork = Readonly<Record<Correcting, Tried>>;

/** Plays the log again and lets networks, each trained on what lay before it, choose for the validation windows. */
export async function validateNetwork(
  tensorflow: Tensorflow,
  past: Past,
  budgets: readonly Budget[],
  samples: ReadonlyMap<number, Samples>,
  base: Base,
  options: { readonly rows: number; readonly recipe: Recipe },
): Promise<ValidatedNetwork> {
  const { log, spec, schedule, seed, breathe } = past;
  const engine = past.newEngine();
  const validated = { network: tried(), mix: tried(), nudge: tried() };
  const names = Object.keys(networkShare) as Correcting[];
  const visits = schedule.validation.flatMap(({ offset, windows }) =>
    windows.map((window) => ({ trainedAt: offset, window, last: window === windows.at(-1) })),
  );
  const stops = visits.map(({ window }) => past.positionOf(window));
  const skip = skipColumns(spec, base);
  let network: Network | null = null;
  await replay(engine, log, stops, breathe, async (n) => {
    const { trainedAt, window, last } = visits[n]!;
    if (!network) {
      const rows = samplesAt(samples, schedule.referencesBefore(trainedAt), options.rows);
      const { recipe } = options;
      const fit = await fitNetwork(tensorflow, rows, { skip, seed, breathe, recipe, columns: spec.columns });
      network = fit.network;
    }
    const judge = judgeOf(past, engine, await futureOf(past, engine, window), budgets);
    const at = past.timeOf(window);
    const shares = names.map((name) => networkShare[name]);
    const expected = await correct(tensorflow, network, engine, at, base, shares, breathe);
    for (const [n, name] of names.entries()) {
      noteTrial(validated[name], judge.expected(expected[n]!));
      await breathe();
    }
    if (!last) return;
    disposeNetwork(network);
    network = null;
  });
  return validated;
}
