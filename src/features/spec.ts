import { createHash } from 'node:crypto';

/** Multiples of the horizon H at which accesses are remembered: from "just now" to "as good as for ever". */
export const accessHalfLives = [1 / 64, 1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 8, 32, 128] as const;
/** Changes are rarer than reads: three half-lives tell as much as ten. */
export const changeHalfLives = [1 / 4, 2, 32] as const;

/**
 * What a feature vector holds. Two specs with the same hash give the same columns with the same meaning; a model
 * scores only vectors of the spec that it was trained on.
 */
export interface FeatureSpec {
  /** raised by hand whenever the formula of a column changes */
  readonly version: 1;
  /** H: how far ahead is predicted, and the unit of every time in a vector, seconds */
  readonly horizonSeconds: number;
  /** half-lives of the decayed access counters, in horizons, ascending */
  readonly accessHalfLives: readonly number[];
  /** half-lives of the decayed change counters, in horizons, ascending */
  readonly changeHalfLives: readonly number[];
  /** one name a column, in order */
  readonly columns: readonly string[];
}

/** The spec of this version of the code. @throws RangeError unless the horizon is positive and finite */
export function featureSpec(horizonSeconds: number): FeatureSpec {
  if (!(horizonSeconds > 0) || !Number.isFinite(horizonSeconds)) {
    throw new RangeError(`the horizon must be a positive number of seconds, not ${horizonSeconds}`);
  }
  return {
    version: 1,
    horizonSeconds,
    accessHalfLives: [...accessHalfLives],
    changeHalfLives: [...changeHalfLives],
    columns: [
      ...accessHalfLives.map((h) => `accesses_${h}H`),
      ...changeHalfLives.map((h) => `changes_${h}H`),
      'since_access',
      'since_change',
      'since_first_seen',
      'mean_accesses',
      'change_share',
    ],
  };
}

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
