import type { Rng } from '../core/rng.ts';
import { defectRate } from './defects.ts';
import type { FieldMeasurement, Measurement } from './measurement.ts';
import { reasonsOf } from './reasons.ts';
import type { ConfidenceReport, FieldReport } from './report.ts';
import { similarityOf } from './similarity.ts';
import { shareVariance } from './source-sample.ts';
import { effectiveSampleSize } from './strata.ts';

export interface LevelSettings {
  readonly threshold: number;
  readonly fieldThreshold: number;
  readonly weights: { readonly similarity: number; readonly changeRate: number };
}

/**
 * migration_confidence_level = similarity_score · w_similarity + change_rate_factor · w_changeRate, with its interval,
 * every term, and for each term that is short a reason.
 *
 * The score's bounds are the weighted means of its fields' bounds. That is what fields in perfect step with each other
 * would give: the widest case, so the level's bound is conservative without knowing how they move together.
 */
export function calculateMigrationConfidenceLevel(
  measured: Measurement,
  settings: LevelSettings,
  rng: Rng,
): ConfidenceReport {
  const { strata } = measured;
  const unseen = strata.N > 0 ? Math.min(1, measured.absentA / strata.N) : 0;
  const fields = measured.fields.map((field) => fieldReport(field, measured, unseen, rng));
  const factor = changeRateFactor(measured.changedKeys, strata.N);
  const blend = (similarity: number) =>
    settings.weights.similarity * similarity + settings.weights.changeRate * factor;
  const score = weightedMean(fields, (field) => field.similarity);
  const scoreLower = weightedMean(fields, (field) => field.lower);
  const scoreUpper = weightedMean(fields, (field) => field.upper);
  const { sync, map } = measured;
  const syncChecked = sync.a.checked + sync.b.checked;

  const terms: Omit<ConfidenceReport, 'holds' | 'reasons' | 'notes'> = {
    level: blend(score),
    lower: blend(scoreLower),
    upper: blend(scoreUpper),
    threshold: settings.threshold,
    similarity_score: score,
    similarity_lower: scoreLower,
    similarity_upper: scoreUpper,
    change_rate_factor: factor,
    effective_sample_size: effectiveSampleSize(measured.randomMembers, strata),
    fields,
    defects: {
      sync: defectRate(sync, strata, measured.checksSampled),
      map: defectRate(map, strata, measured.checksSampled),
    },
    accuracy: syncChecked > 0 ? 1 - (sync.a.found + sync.b.found) / syncChecked : null,
    random_members: measured.randomMembers,
    pi_eff: measured.piEff,
    checks_sampled: measured.checksSampled,
    source: {
      rows: measured.source.rows,
      rows_error: measured.source.rowsError,
      method: measured.source.method,
      sampled_rows: measured.source.sampledRows,
      share_error: shareError(measured.fields),
      taken_at: measured.source.takenAt,
    },
  };
  const reasons = reasonsOf(terms, measured, settings);
  return { ...terms, holds: reasons.length === 0, reasons, notes: notes(terms, measured) };
}

/** 1 − min(1, changed / N): by the triangle inequality, how far the source can have moved from what was measured. */
export function changeRateFactor(changedKeys: number, N: number): number {
  if (N <= 0) return changedKeys > 0 ? 0 : 1;
  return 1 - Math.min(1, changedKeys / N);
}

/**
 * A field is as similar as its least similar facet, and so are its bounds: each facet's bound covers that facet, so
 * the least of them covers the least similar one.
 */
function fieldReport(field: FieldMeasurement, measured: Measurement, unseen: number, rng: Rng): FieldReport {
  const facets = field.facets.map((facet) =>
    similarityOf({ ...facet, strata: measured.strata, unseen, census: measured.piEff >= 1, rng }),
  );
  const least = facets.reduce((worst, facet) => (facet.similarity < worst.similarity ? facet : worst));
  const changed = 1 - changeRateFactor(measured.changedKeys, measured.strata.N);
  return {
    name: field.name,
    kind: field.kind,
    space: field.space,
    similarity: least.similarity,
    lower: Math.min(...facets.map((facet) => facet.lower)),
    upper: Math.min(...facets.map((facet) => facet.upper)),
    noise: Math.min(...facets.map((facet) => facet.noise)),
    weight: field.weight,
    checked: field.checked,
    // rows that changed since the statistics were taken may have changed to or from NULL; absent ones may be NULL
    nulls: { ...least.nulls, allowed: least.nulls.allowed + changed + unseen },
    shares: { source: [...least.source], shadow: [...least.shadow] },
  };
}

function weightedMean(fields: readonly FieldReport[], value: (field: FieldReport) => number): number {
  const weight = fields.reduce((sum, field) => sum + field.weight, 0);
  return weight > 0 ? fields.reduce((sum, field) => sum + field.weight * value(field), 0) / weight : 0;
}

function shareError(fields: readonly FieldMeasurement[]): number {
  let largest = 0;
  for (const { facets } of fields) {
    for (const { source } of facets) for (const v of shareVariance(source)) largest = Math.max(largest, v);
  }
  return Math.sqrt(largest);
}

function notes(terms: Pick<ConfidenceReport, 'fields' | 'source'>, measured: Measurement): string[] {
  const said: string[] = [];
  const unchecked = terms.fields.filter((field) => field.checked === 'unchecked').map((field) => field.name);
  if (unchecked.length > 0) {
    said.push(
      `errors of the map in ${unchecked.join(', ')} would not show: no back map, no invariant, no raw column`,
    );
  }
  if (terms.source.method === 'blocks') {
    const error = terms.source.share_error.toFixed(4);
    said.push(
      `the source was measured on ${terms.source.sampled_rows} rows of random blocks, standard error ${error}`,
    );
  }
  if (measured.piEff >= 1) said.push('the shadow holds every row of the table: nothing had to be estimated');
  if (measured.checksSampled) said.push('only a random sample of the members was checked row by row');
  return said;
}
