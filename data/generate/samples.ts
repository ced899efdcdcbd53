import { driftingZipf } from './drifting-zipf.ts';
import { orderLifecycle } from './order-lifecycle.ts';
import { seasonalTenants } from './seasonal-tenants.ts';
import type { Trace, TraceOptions } from './trace.ts';

export interface Sample {
  readonly generate: (options: TraceOptions) => Trace;
  readonly options: TraceOptions;
}

/** The traces that lie in data/samples, by their names. */
export const samples: Readonly<Record<string, Sample>> = {
  'seasonal-tenants': {
    generate: seasonalTenants,
    options: { seed: 1, events: 45_000, keys: 3_000, days: 28 },
  },
  'drifting-zipf': {
    generate: driftingZipf,
    options: { seed: 1, events: 50_000, keys: 6_000, days: 7 },
  },
  'order-lifecycle': {
    generate: orderLifecycle,
    options: { seed: 1, events: 42_000, keys: 8_000, days: 21 },
  },
};
