import { createHash } from 'node:crypto';

/** Multiples of the horizon H at which accesses are remembered: from "just now" to "as good as for ever". */
export const accessHalfLives = [1 / 64, 1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 8, 32, 128] as const;
/** Changes are rarer than reads: three half-lives tell as much as ten. */
export const changeHalfLives = [1 / 4, 2, 32] as const;
/** Half-lives at which a row's share of its group is turned into an expectation. */
export const groupHalfLives = [1 / 2, 2, 8, 32, 128] as const;

/** Lengths of the seasons that are looked for, seconds. */
export const seasonSeconds = { day: 86_400, week: 604_800 } as const;
export type Season = keyof typeof seasonSeconds;

/**
 * What a feature vector holds. Two specs with the same hash give the same columns with the same meaning; a model
 * scores only vectors of the spec that it was trained on.
 */
export interface FeatureSpec {
  /** raised by hand whenever the formula of a column changes */
  readonly version: 2;
  /** H: how far ahead is predicted, and the unit of every time in a vector, seconds */
  readonly horizonSeconds: number;
  /** half-lives of the decayed access counters, in horizons, ascending */
  readonly accessHalfLives: readonly number[];
  /** half-lives of the decayed change counters, in horizons, ascending */
  readonly changeHalfLives: readonly number[];
  /** seasons at least twice as long as the horizon; a shorter one averages out within it */
  readonly seasons: readonly Season[];
  /** whether rows belong to groups (tenants, parents), which have phases and announced events */
  readonly grouped: boolean;
  /** one name a column, in order */
  readonly columns: readonly string[];
}

export interface SpecOptions {
  /** false when absent */
  readonly grouped?: boolean;
}

/** The spec of this version of the code. @throws RangeError unless the horizon is positive and finite */
export function featureSpec(horizonSeconds: number, { grouped = false }: SpecOptions = {}): FeatureSpec {
  if (!(horizonSeconds > 0) || !Number.isFinite(horizonSeconds)) {
    throw new RangeError(`the horizon must be a positive number of seconds, not ${horizonSeconds}`);
  }
  const seasons = (['day', 'week'] as const).filter((season) => seasonSeconds[season] >= 2 * horizonSeconds);
  return {
    version: 2,
    horizonSeconds,
    accessHalfLives: [...accessHalfLives],
    changeHalfLives: [...changeHalfLives],
    seasons,
    grouped,
    columns: [
      ...accessHalfLives.map((h) => `accesses_${h}H`),
      ...changeHalfLives.map((h) => `changes_${h}H`),
      'since_access',
      'since_change',
      'since_first_seen',
      'mean_accesses',
      'change_share',
      ...seasons.map((season) => `same_phase_of_${season}`),
      ...(grouped ? groupColumns() : []),
    ],
  };
}

const groupColumns = (): string[] => [
  ...groupHalfLives.map((h) => `group_share_${h}H`),
  'group_forecast',
  'group_recent',
  'group_phase',
  'announced',
  'ongoing',
];

/** SHA-256 of the spec's canonical JSON (object keys sorted), as hex. */
export function featureSpecHash(spec: FeatureSpec): string {
  return createHash('sha256').update(canonicalJson(spec)).digest('hex');
}

/** JSON with sorted object keys: equal values give equal texts. Takes plain JSON values only. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([name, item]) => `${JSON.stringify(name)}:${canonicalJson(item)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
