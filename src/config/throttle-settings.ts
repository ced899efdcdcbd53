import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import { ForeshadowError } from '../core/errors.ts';

const duration = Type.String({ pattern: '^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$' });
const none = Type.Literal('none');
const positive = Type.Integer({ minimum: 1 });

/** Limits that the throttle keeps to; each may be turned while the copy runs. `none` lets go of a limit. */
export const throttleLimits = {
  maxLag: Type.Union([duration, none], {
    default: '2s',
    description: 'Replay lag of a standby from which on the copy slows down; twice as much holds it.',
  }),
  maxSlotWal: Type.Union([positive, none], {
    default: 'none',
    description:
      'Bytes of WAL that a replication slot may keep. Apart from it the copy always leaves a slot a fifth of max_slot_wal_keep_size.',
  }),
  maxActive: Type.Union([positive, Type.Literal('auto'), none], {
    default: 'auto',
    description:
      'Sessions of others at work at the same time; auto: a quarter of max_connections, and at least 8.',
  }),
  maxWalRate: Type.Union([positive, none], {
    default: 'none',
    description: 'Bytes of WAL a second, of the whole server.',
  }),
  checkpointEvery: Type.Union([duration, none], {
    default: '30s',
    description: 'WAL may not fill up so fast that checkpoints come more often than this.',
  }),
  maxLatency: Type.Union([Type.Number({ exclusiveMinimum: 1 }), none], {
    default: 2,
    description: 'How many times as long as without the copy the probe, or a commit, may take.',
  }),
} as const;

/** How fast the copy may be at most, whatever the throttle finds. */
export const copyLimits = {
  rowsPerSecond: Type.Union([positive, none], { description: 'Upper limit of the copy.' }),
  chunkTime: Type.String({ ...duration, description: 'How long a chunk should take.' }),
} as const;

const limits = Type.Object(throttleLimits);
const copy = Type.Object(copyLimits);

/** What an operator has turned while the migration runs; it wins over the migration file. */
export type Knobs = Partial<Static<typeof limits> & Static<typeof copy>>;

/** A turn of some knobs; null gives one back to the migration file. */
export type KnobChange = { [K in keyof Knobs]?: Knobs[K] | null };

/** A default is for the file: here a knob that is absent is left as it is. */
const turned = (schema: Readonly<Record<string, Type.TSchema>>) =>
  Object.fromEntries(
    Object.entries(schema).map(([name, { default: _, ...rest }]: [string, { default?: unknown }]) => [
      name,
      Type.Optional(Type.Union([rest as Type.TSchema, Type.Null()])),
    ]),
  );

export const KnobChange = Type.Object(turned({ ...copyLimits, ...throttleLimits }), {
  additionalProperties: false,
  minProperties: 1,
});

/** @throws ForeshadowError USAGE naming the knob */
export function requireKnobs(change: unknown): KnobChange {
  const [error] = Value.Errors(KnobChange, change);
  if (!error) return change as KnobChange;
  const where = error.instancePath ? `${error.instancePath.slice(1)}: ` : '';
  throw new ForeshadowError('USAGE', `throttle: ${where}${error.message}`);
}
