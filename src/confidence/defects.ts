import { clopperPearsonUpper } from './clopper-pearson.ts';
import { type Strata, shareOfA } from './strata.ts';

/** What one kind of check found among the members, per part of the table. */
export interface DefectCounts {
  readonly a: { readonly checked: number; readonly found: number };
  readonly b: { readonly checked: number; readonly found: number };
}

export interface DefectRate {
  readonly found: number;
  readonly checked: number;
  /** share of all rows of the table that may be defective, with 95 % confidence */
  readonly upper_bound: number;
}

/**
 * Whole-table bound (d_A + N_B·U_B)/N: d_A counted over all of A, U_B the one-sided 95 % Clopper–Pearson bound from
 * B's random members. It speaks of what the map does to rows, not of rows that have yet to be copied.
 *
 * When the cap on checks leaves only a sample of A, d_A is replaced by N_A·U_A, and each bound takes half of the 5 %
 * (Bonferroni). Rows left out because they were changing just then count like the rest of their part.
 *
 * @param sampledA the checks cover a random sample of A only
 */
export function defectRate(counts: DefectCounts, strata: Strata, sampledA: boolean): DefectRate {
  const { a, b } = counts;
  const shareA = shareOfA(strata);
  const confidence = sampledA ? 0.975 : 0.95;
  const boundA = sampledA ? clopperPearsonUpper(a.found, a.checked, confidence) : ratio(a.found, a.checked);
  const boundB = clopperPearsonUpper(b.found, b.checked, confidence);
  return {
    found: a.found + b.found,
    checked: a.checked + b.checked,
    upper_bound: Math.min(1, (shareA > 0 ? shareA * boundA : 0) + (shareA < 1 ? (1 - shareA) * boundB : 0)),
  };
}

// nothing checked is nothing known
const ratio = (found: number, checked: number) => (checked > 0 ? found / checked : 1);
