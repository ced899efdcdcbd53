import type { MigrationStatus } from '../core/states.ts';
import type { StatusDocument } from '../migration/status.ts';
import type { ByOrder } from './copy-order.ts';
import type { Audit } from './ledger.ts';
import type { Latency } from './measure.ts';

export const phases = ['before', 'during', 'after'] as const;
export type Phase = (typeof phases)[number];

/** What the shadow is shown beside: simple rules, and the best that knowing the future could do. */
export const rules = ['random', 'lfu', 'lru', 'ewma', 'oracle'] as const;
export type Rule = (typeof rules)[number];

/** The demo's result. Every figure is measured; one that could not be is null. */
export interface DemoReport {
  readonly schema: 1;
  /** COMPLETED, no error of the application, no stale read, and no row missing, extra or different */
  readonly ok: boolean;
  readonly rows: number;
  readonly elapsed_s: number;
  readonly status: MigrationStatus;
  /** both from the moment the migration was started, after the application's warm-up */
  readonly time_to_reads_on_target_s: number | null;
  readonly time_to_complete_s: number | null;
  /** shares of the application's own reads in the `window_s` after the read cutover, membership frozen there */
  readonly shadow: {
    readonly fraction: number;
    readonly rows: number;
    readonly hit_share: number | null;
    readonly window_s: number;
    readonly reads: number;
  } & Readonly<Record<Rule, number | null>>;
  /**
   * Share of the application's own row reads that the target could serve, against how much of the table the copy had
   * passed: as it went, and in other orders. null when the copy was not seen to its end
   */
  readonly coverage: {
    readonly reads: number;
    readonly window_s: number;
    /** `copied` and the shares are 0–1 */
    readonly points: readonly ({ readonly copied: number } & ByOrder)[];
    /** under the whole curve, 0–1 */
    readonly area: ByOrder;
  } | null;
  readonly confidence: Pick<
    NonNullable<StatusDocument['confidence']>,
    'level' | 'lower' | 'upper' | 'similarity_score' | 'change_rate_factor' | 'threshold'
  > | null;
  readonly locks: readonly {
    readonly kind: string;
    readonly wait_ms: number;
    readonly hold_ms: number;
    readonly attempts: number;
  }[];
  readonly app: {
    readonly reads: number;
    readonly writes: number;
    readonly errors: number;
    readonly retries: number;
    readonly stale: number;
    /** rows read that were compared with what the application had committed */
    readonly compared: number;
    readonly statements_per_s: number;
    /** of one core */
    readonly cpu_share: number;
    readonly p50_ms: Readonly<Record<Phase, number | null>>;
    readonly p99_ms: Readonly<Record<Phase, number | null>>;
    readonly max_ms: Readonly<Record<Phase, number | null>>;
    readonly served: Readonly<Record<'source' | 'overlay' | 'target', number>>;
    readonly error_texts: Readonly<Record<string, number>>;
    /** the final table against what the application believes it has committed, row by row */
    readonly audit: Audit;
  };
  readonly sync: { readonly lag_ms_p50: number | null; readonly lag_ms_p99: number | null };
  /** every row of the target against the row map of the source, before the write cutover */
  readonly verification: Pick<
    NonNullable<StatusDocument['verification']>,
    'missing' | 'extra' | 'different' | 'compared'
  > | null;
  readonly model: StatusDocument['model'];
  /** of the application's statements, before the migration */
  readonly query_log: { readonly mb_per_s: number };
}

export interface Measured {
  readonly rows: number;
  readonly elapsed: number;
  readonly timeToReads: number | null;
  readonly timeToComplete: number | null;
  readonly status: StatusDocument;
  readonly shadow: DemoReport['shadow'];
  readonly coverage: DemoReport['coverage'];
  readonly latency: Readonly<Record<Phase, Latency>>;
  readonly app: Omit<DemoReport['app'], 'p50_ms' | 'p99_ms' | 'max_ms'>;
  readonly queryLog: DemoReport['query_log'];
}

export function demoReport(measured: Measured): DemoReport {
  const { status, app, latency } = measured;
  const { confidence: c, verification: v } = status;
  const byPhase = (name: 'p50_ms' | 'p99_ms' | 'max_ms') =>
    Object.fromEntries(phases.map((phase) => [phase, latency[phase][name]])) as Record<Phase, number | null>;
  const wrong = (each: { missing: number; extra: number; different: number } | null) =>
    each === null ? 1 : each.missing + each.extra + each.different;
  const ok =
    status.status === 'COMPLETED' &&
    app.errors === 0 &&
    app.stale === 0 &&
    wrong(v) === 0 &&
    wrong(app.audit) === 0;
  return {
    schema: 1,
    ok,
    rows: measured.rows,
    elapsed_s: round(measured.elapsed, 1),
    status: status.status,
    time_to_reads_on_target_s: roundOrNull(measured.timeToReads, 1),
    time_to_complete_s: roundOrNull(measured.timeToComplete, 1),
    shadow: measured.shadow,
    coverage: measured.coverage,
    confidence: c && {
      level: c.level,
      lower: c.lower,
      upper: c.upper,
      similarity_score: c.similarity_score,
      change_rate_factor: c.change_rate_factor,
      threshold: c.threshold,
    },
    locks: status.locks.map(({ kind, wait_ms, hold_ms, attempts }) => ({ kind, wait_ms, hold_ms, attempts })),
    app: { ...app, p50_ms: byPhase('p50_ms'), p99_ms: byPhase('p99_ms'), max_ms: byPhase('max_ms') },
    sync: { lag_ms_p50: status.lag?.ms_p50 ?? null, lag_ms_p99: status.lag?.ms_p99 ?? null },
    verification: v && { missing: v.missing, extra: v.extra, different: v.different, compared: v.compared },
    model: status.model,
    query_log: measured.queryLog,
  };
}

export const round = (value: number, digits: number): number => Number(value.toFixed(digits));
const roundOrNull = (value: number | null, digits: number) => (value === null ? null : round(value, digits));
