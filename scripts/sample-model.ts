import { orderLifecycle } from '../data/generate/order-lifecycle.ts';
import { daySeconds, traceStart } from '../data/generate/trace.ts';
import type { Access } from '../src/core/access.ts';
import { type TrainOptions, trainModel } from '../src/model/index.ts';

/** The model in models/sample-orders: what `foreshadow train` makes of the sample trace of orders and their lives. */
export const sampleModel = {
  name: 'sample-orders',
  /** T: the days after it are there to try the model on. Seconds since the epoch */
  now: traceStart + 17 * daySeconds,
  horizonSeconds: daySeconds / 2,
  budget: 0.1,
  seed: 1,
} as const;

/** The trace of data/samples/order-lifecycle.csv.gz, as its generator gives it: all of it, before and after T. */
export function sampleTrace(): readonly Access[] {
  return orderLifecycle({ seed: 1, events: 42_000, keys: 8_000, days: 21 }).accesses;
}

export function trainSampleModel() {
  const { now, horizonSeconds, budget, seed } = sampleModel;
  // Its date is T, so that making it again changes no byte.
  const options: TrainOptions = { accesses: sampleTrace(), now, horizonSeconds, budget, seed };
  return trainModel({ ...options, clock: { now: () => now } });
}
