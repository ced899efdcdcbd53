import Type, { type Static } from 'typebox';
import { Calibration } from './calibration.ts';
import { baseNames } from './expectation.ts';
import { predictorNames } from './select.ts';

/** Raised when a manifest changes so that older code would misread it. */
export const MANIFEST_SCHEMA = 2;

const sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' });
const count = Type.Integer({ minimum: 0 });
const predictor = Type.Enum([...predictorNames]);
const shares = Type.Partial(
  Type.Object({
    random: Type.Number(),
    lru: Type.Number(),
    lfu: Type.Number(),
    ewma: Type.Number(),
    group: Type.Number(),
    network: Type.Number(),
    mix: Type.Number(),
    nudge: Type.Number(),
    oracle: Type.Number(),
  }),
);
const gain = Type.Object({ mean: Type.Number(), standardError: Type.Number(), windows: count });

/** All that is known about a trained model, beside its weights. */
export const Manifest = Type.Object({
  schema: Type.Literal(MANIFEST_SCHEMA),
  /** wall-clock time, ISO 8601 */
  created_at: Type.String(),
  training: Type.Object({
    /** hash of the accesses that were learnt from, in their canonical order */
    sha256,
    events: count,
    keys: count,
    /** the first access, and T: nothing at or after T was looked at; seconds */
    from: Type.Union([Type.Number(), Type.Null()]),
    until: Type.Number(),
  }),
  feature_spec: Type.Object({
    version: Type.Literal(2),
    horizonSeconds: Type.Number({ exclusiveMinimum: 0 }),
    accessHalfLives: Type.Array(Type.Number()),
    changeHalfLives: Type.Array(Type.Number()),
    seasons: Type.Array(Type.Enum(['day', 'week'])),
    grouped: Type.Boolean(),
    columns: Type.Array(Type.String()),
  }),
  feature_spec_hash: sha256,
  seed: Type.Integer(),
  horizon_seconds: Type.Number({ exclusiveMinimum: 0 }),
  /** the tuned EWMA: an index into feature_spec.accessHalfLives, and how it was found */
  half_life: Type.Object({ index: count, seconds: Type.Number(), reason: Type.String() }),
  /** what the network corrects: the tuned EWMA, or the tuned share of the group's forecast where that did better */
  base: Type.Enum([...baseNames]),
  /** the group's share: an index into feature_spec.accessHalfLives */
  group_half_life: Type.Object({ index: count, seconds: Type.Number(), reason: Type.String() }),
  change_weight: Type.Number({ minimum: 0 }),
  /** share of the rows that a choice may hold, and of how many (null: of the keys seen so far) */
  budget: Type.Number({ minimum: 0, maximum: 1 }),
  table_rows: Type.Union([count, Type.Null()]),
  predictor,
  reason: Type.String(),
  /** over the EWMA on past windows, each the mean over half, whole and double the budget; later windows tell more */
  gains: Type.Partial(Type.Object({ lfu: gain, group: gain, network: gain, mix: gain, nudge: gain })),
  /** hit shares on past windows, each model trained before its window; `at` is where the window begins, seconds */
  metrics: Type.Array(Type.Object({ at: Type.Number(), rows: count, shares })),
  /** of the chosen predictor's scores, on past windows */
  calibration: Calibration,
  network: Type.Object({
    trained: Type.Boolean(),
    rows: count,
    steps: count,
    loss_before: Type.Union([Type.Number(), Type.Null()]),
    loss_after: Type.Union([Type.Number(), Type.Null()]),
  }),
  /** counts to expect in one horizon of a row that the log never showed */
  unknown: Type.Object({ accesses: Type.Number({ minimum: 0 }), changes: Type.Number({ minimum: 0 }) }),
  tfjs_version: Type.String(),
  backend: Type.String(),
});
export type Manifest = Static<typeof Manifest>;
export type Shares = Static<typeof shares>;

/** A manifest as it lies on disk: with the hashes of the two files beside it. */
export const StoredManifest = Type.Object({
  ...Manifest.properties,
  files: Type.Object({ model_json_sha256: sha256, weights_bin_sha256: sha256 }),
});
export type StoredManifest = Static<typeof StoredManifest>;
