import type { DefectCounts } from './defects.ts';
import type { CommonSpace, FieldCheck, FieldKind } from './report.ts';
import type { Groups } from './source-sample.ts';
import type { Strata } from './strata.ts';

/** Counts of one distribution of a field, all over the same (already coarsened) bins, bin 0 = NULL. */
export interface FacetMeasurement {
  readonly source: Groups;
  readonly a: Float64Array;
  readonly b: Float64Array;
}

export interface FieldMeasurement {
  readonly name: string;
  readonly kind: FieldKind;
  readonly space: CommonSpace;
  readonly weight: number;
  readonly checked: FieldCheck;
  /** text has two (length, first bytes), every other kind one */
  readonly facets: readonly FacetMeasurement[];
}

/** A check that the members went through: back map of a column, or an invariant. */
export interface CheckResult {
  readonly kind: 'back' | 'invariant';
  readonly name: string;
  readonly found: number;
  /** of these, checks whose result was NULL instead of false */
  readonly nulls: number;
  /** up to a few source keys, as text */
  readonly examples: readonly (readonly string[])[];
  /** SQLSTATE of the error that the expression raised; the check then says nothing about any row */
  readonly error?: string;
}

/** Everything that one snapshot showed: the input of the pure part. */
export interface Measurement {
  readonly strata: Strata;
  /** rows of A that are wanted but not yet in T */
  readonly absentA: number;
  readonly piEff: number;
  readonly randomMembers: number;
  readonly fields: readonly FieldMeasurement[];
  /** fields that could not be measured, with the SQLSTATE or the reason */
  readonly unmeasured: readonly { readonly name: string; readonly why: string }[];
  /** distinct keys changed since the source statistics were taken, over at least the last window */
  readonly changedKeys: number;
  readonly sync: DefectCounts & { readonly examples: readonly (readonly string[])[] };
  readonly map: DefectCounts;
  readonly checks: readonly CheckResult[];
  readonly checksSampled: boolean;
  readonly source: {
    readonly rows: number;
    readonly rowsError: number;
    readonly method: 'scan' | 'blocks';
    readonly sampledRows: number;
    readonly takenAt: number;
  };
}
