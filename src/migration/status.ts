import type { Pool } from 'pg';
import type { ConfidenceReport } from '../confidence/report.ts';
import type { Knobs } from '../config/throttle-settings.ts';
import type { CoverageReport } from '../shadow/coverage.ts';
import type { Gate } from './gate.ts';
import { type HealthLimits, healthLimits, type Warning, waiting, warningsOf } from './health.queries.ts';
import { type LogCoverage, logCoverage } from './log-coverage.queries.ts';
import { shadowFraction } from './shadow-size.store.ts';
import { getMigration, type LockRecord, lockHistory, type Migration } from './status.store.ts';
import type { ThrottleState } from './throttle/throttle.ts';
import type { Verification } from './verify.ts';
import { wayBackOf } from './way-back/state.ts';

/** The status document: the same from the command line and over HTTP. Unknown figures are null, never made up. */
export interface StatusDocument {
  readonly schema: 1;
  readonly name: string;
  readonly status: Migration['status'];
  readonly status_before: Migration['status_before'];
  readonly phase: Migration['phase'];
  readonly read_from: Migration['read_from'];
  readonly write_to: Migration['write_to'];
  readonly shadow_table_status: {
    readonly completeness: number | null;
    readonly accuracy: number | null;
    /** share of the rows that it is to hold */
    readonly fraction: number;
    readonly rows: number;
    readonly wanted: number;
    readonly strata: Readonly<Record<string, number>>;
  };
  readonly migration_confidence_level: number | null;
  readonly confidence:
    | (Pick<
        ConfidenceReport,
        | 'level'
        | 'lower'
        | 'upper'
        | 'threshold'
        | 'similarity_score'
        | 'change_rate_factor'
        | 'effective_sample_size'
        | 'defects'
      > & {
        readonly fields: readonly Pick<
          ConfidenceReport['fields'][number],
          'name' | 'kind' | 'similarity' | 'lower' | 'noise' | 'weight' | 'checked'
        >[];
        readonly notes: readonly string[];
      })
    | null;
  readonly coverage: CoverageReport | null;
  /** what the query log tells of the source, and what it does not */
  readonly query_log: LogCoverage | null;
  readonly gate: Gate;
  readonly rows: { readonly total: number; readonly migrated: number };
  readonly rate: number | null;
  /** seconds until all is copied */
  readonly eta_s: number | null;
  /** seconds until writes may be cut over: copy, indexes and verification */
  readonly eta_total_s: number | null;
  /** what holds the copy back; null before lanes have run */
  readonly throttle: (ThrottleState & { readonly knobs: Knobs }) | null;
  readonly lag: { readonly ms_p50: number; readonly ms_p99: number; readonly backlog: number } | null;
  readonly wait_reason: string | null;
  /** what slows readers down or fills the disk if nobody looks; asked at this moment */
  readonly warnings: readonly Warning[];
  readonly locks: readonly (LockRecord & { readonly at: Date })[];
  readonly model: Readonly<Record<string, unknown>> | null;
  readonly verification: Verification | null;
  /** whether the write cutover can be taken back, before it and after it */
  readonly way_back: {
    readonly open: boolean;
    readonly reasons: readonly string[];
    /** changes that the old table has yet to be given, at most 100,001; null while it is not kept in step */
    readonly behind: number | null;
  };
  readonly error: { readonly code: string; readonly message: string; readonly hint: string } | null;
  readonly epoch: number;
  readonly updated_at: Date;
}

/** @throws ForeshadowError MIGRATION_UNKNOWN */
export async function describeMigration(
  pool: Pool,
  name: string,
  limits: HealthLimits = healthLimits,
): Promise<StatusDocument> {
  const m = await getMigration(pool, name);
  const shadow = m.shadow_table_status as Partial<StatusDocument['shadow_table_status']>;
  const confidence = m.confidence as ConfidenceReport | null;
  const rate = m.rate as number | null;
  return {
    schema: 1,
    name: m.name,
    status: m.status,
    status_before: m.status_before,
    phase: m.phase,
    read_from: m.read_from,
    write_to: m.write_to,
    shadow_table_status: {
      completeness: shadow.completeness ?? null,
      accuracy: shadow.accuracy ?? null,
      fraction: shadowFraction(m),
      rows: shadow.rows ?? 0,
      wanted: shadow.wanted ?? 0,
      strata: shadow.strata ?? {},
    },
    migration_confidence_level: m.migration_confidence_level as number | null,
    confidence: confidence && confidenceDocument(confidence),
    coverage: m.coverage as CoverageReport | null,
    query_log: await logCoverage(pool, m.id),
    gate: m.gate as Gate,
    rows: { total: Number(m.rows_total), migrated: Number(m.rows_migrated) },
    rate,
    eta_s: m.eta_s as number | null,
    eta_total_s: m.eta_total_s as number | null,
    throttle: m.throttle_state
      ? { ...(m.throttle_state as ThrottleState), knobs: m.throttle as Knobs }
      : null,
    lag: m.lag as StatusDocument['lag'],
    wait_reason: m.wait_reason as string | null,
    warnings: await warningsOf(pool, m, limits),
    locks: await lockHistory(pool, m.id),
    model: m.model as StatusDocument['model'],
    verification: m.verification as Verification | null,
    way_back: { ...wayBackOf(m), behind: await behind(pool, m) },
    error: m.error as StatusDocument['error'],
    epoch: Number(m.epoch),
    updated_at: m.updated_at as Date,
  };
}

/** Counted up to where the exact figure does not matter any more. */
const countedBehind = 100_001;

async function behind(pool: Pool, { status, physical }: Migration): Promise<number | null> {
  if (status !== 'COMPLETED' || !physical?.wayBack) return null;
  return waiting(pool, physical.wayBack.plan.names.keyLog, countedBehind);
}

function confidenceDocument(report: ConfidenceReport): NonNullable<StatusDocument['confidence']> {
  const {
    level,
    lower,
    upper,
    threshold,
    similarity_score,
    change_rate_factor,
    effective_sample_size,
    defects,
    notes,
  } = report;
  const fields = report.fields.map(({ name, kind, similarity, lower: low, noise, weight, checked }) => ({
    name,
    kind,
    similarity,
    lower: low,
    noise,
    weight,
    checked,
  }));
  return {
    level,
    lower,
    upper,
    threshold,
    similarity_score,
    change_rate_factor,
    effective_sample_size,
    fields,
    defects,
    notes,
  };
}
