import type { CalendarEvent } from '../calendar/index.ts';
import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import { FeatureEngine } from '../features/engine.ts';
import { type FeatureSpec, featureSpec } from '../features/spec.ts';
import type { Breathe } from './pace.ts';
import { logBefore } from './replay.ts';
import { type Schedule, schedule } from './schedule.ts';
import { positionOf } from './windows.ts';

/** What is known about the rows beside their accesses. */
export interface World {
  /** the group (tenant, parent) of a key; null: none. Absent: nothing has groups */
  readonly groupOf?: (key: KeyId) => string | null;
  /** announced events, past and future: they are known in advance, so they are no leak */
  readonly events?: readonly CalendarEvent[];
}

/** The past as every step of training sees it. */
export interface Past {
  /** sorted; nothing at or after T is in it */
  readonly log: readonly Access[];
  readonly spec: FeatureSpec;
  readonly schedule: Schedule;
  /** an engine that has seen nothing yet */
  readonly newEngine: () => FeatureEngine;
  /** offset → seconds */
  readonly timeOf: (offset: number) => number;
  /** offset → position of the first access at or after it */
  readonly positionOf: (offset: number) => number;
  readonly seed: number;
  readonly changeWeight: number;
  readonly breathe: Breathe;
}

export interface PastOptions {
  readonly accesses: Iterable<Access>;
  /** T, seconds */
  readonly now: number;
  readonly horizonSeconds: number;
  readonly world?: World;
  readonly seed: number;
  readonly changeWeight: number;
  readonly breathe: Breathe;
}

export async function pastBefore(options: PastOptions): Promise<Past> {
  const { now, horizonSeconds, world = {}, seed, changeWeight, breathe } = options;
  const { groupOf, events = [] } = world;
  const log = await logBefore(options.accesses, now, breathe);
  const spec = featureSpec(horizonSeconds, { grouped: groupOf !== undefined });
  const timeOf = (offset: number) => now - offset * horizonSeconds;
  const offsetOf = (at: number) => (now - at) / horizonSeconds;
  return {
    log,
    spec,
    schedule: schedule({
      history: offsetOf(log[0]?.at ?? now),
      horizonSeconds,
      seasons: spec.seasons,
      events: groupOf ? events.map((event) => offsetOf(event.start)) : [],
    }),
    newEngine: () => new FeatureEngine(spec, { ...(groupOf && { groupOf }), events }),
    timeOf,
    positionOf: (offset) => positionOf(log, timeOf(offset)),
    seed,
    changeWeight,
    breathe,
  };
}
