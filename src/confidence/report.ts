import type { DefectRate } from './defects.ts';

export type FieldKind = 'number' | 'time' | 'boolean' | 'enum' | 'category' | 'text';

/**
 * How errors of the map would show in a field: raw columns compared, `back(f(row)) = row`, or an invariant that names
 * it. `unchecked`: none of these, so only sync errors would show.
 */
export type FieldCheck = 'raw' | 'back' | 'invariant' | 'unchecked';

/** Where shadow and source are compared: the same columns, the source's type through the back map, or f of the source. */
export type CommonSpace = 'raw' | 'back' | 'forward';

export interface FieldReport {
  readonly name: string;
  readonly kind: FieldKind;
  readonly space: CommonSpace;
  /** 1 − total variation distance, plug-in */
  readonly similarity: number;
  /** pointwise one-sided 95 % bounds */
  readonly lower: number;
  readonly upper: number;
  /** the similarity that a faithful shadow of this size would show by noise alone */
  readonly noise: number;
  readonly weight: number;
  readonly checked: FieldCheck;
  readonly nulls: { readonly source: number; readonly shadow: number; readonly allowed: number };
  /** shares of the bins, NULL first; without their labels, which are values of rows */
  readonly shares: { readonly source: readonly number[]; readonly shadow: readonly number[] };
}

export interface Reason {
  readonly term: 'level' | 'field' | 'nulls' | 'members' | 'sync' | 'map' | 'unmeasured';
  /** the field, or the check, that is short */
  readonly name?: string;
  readonly value: number;
  readonly needed: number;
  readonly short_by: number;
  readonly message: string;
  /** what would clear it */
  readonly clear: string;
}

/** The confidence level with its interval, its terms and its reasons: one never goes without the others. */
export interface ConfidenceReport {
  readonly level: number;
  readonly lower: number;
  readonly upper: number;
  readonly threshold: number;
  readonly similarity_score: number;
  readonly similarity_lower: number;
  readonly similarity_upper: number;
  readonly change_rate_factor: number;
  readonly effective_sample_size: number;
  readonly fields: readonly FieldReport[];
  readonly defects: { readonly sync: DefectRate; readonly map: DefectRate };
  /** members equal to f(S) / members checked; null when none was checked */
  readonly accuracy: number | null;
  /** the random members that estimation uses, and the rate up to which they are all present */
  readonly random_members: number;
  readonly pi_eff: number;
  /** checks ran on a sample of the members only */
  readonly checks_sampled: boolean;
  readonly source: {
    readonly rows: number;
    /** standard error of `rows`; 0 for a scan */
    readonly rows_error: number;
    readonly method: 'scan' | 'blocks';
    readonly sampled_rows: number;
    /** largest standard error of a bin's share in any field; 0 for a scan */
    readonly share_error: number;
    readonly taken_at: number;
  };
  /** nothing is short in this evaluation; the gate asks for several in a row */
  readonly holds: boolean;
  readonly reasons: readonly Reason[];
  /** what a reader should know and that holds nothing back */
  readonly notes: readonly string[];
}
