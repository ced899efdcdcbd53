import { quantileSorted } from 'simple-statistics';
import { logLag } from '../access/store.queries.ts';
import { type Evaluation, evaluate } from '../confidence/evaluate.ts';
import { seconds } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import { withClient } from '../db/tx.ts';
import { type Gate, triggerMigration } from '../migration/gate.ts';
import { type Migration, updateEvaluation } from '../migration/status.store.ts';
import type { ThrottleState } from '../migration/throttle/throttle.ts';
import type { Coverage, CoverageReport } from '../shadow/coverage.ts';
import { shadowCounts } from '../shadow/members.queries.ts';
import { backlog } from '../sync/lane.queries.ts';
import type { Lanes } from '../sync/lanes.ts';
import type { Sampling } from './choice.ts';

/** Captured changes are kept for an hour; statistics of the source must not be older than what they are held against. */
const sourceStatisticsAge = 1800;

export interface Measured {
  /** null: it came too late, and counts for nothing */
  readonly gate: Gate | null;
  /** to be handed to the next evaluation */
  readonly known: Known;
}

/** What an evaluation learns for the next one. */
export type Known = Pick<Evaluation, 'source' | 'checkLimit'>;

/** One evaluation of confidence, and of the gate, written to the status row with all their terms. */
export async function measure(
  ctx: Context,
  migration: Migration,
  lanes: Lanes | null,
  coverage: Coverage | null,
  known: Known | null,
): Promise<Measured> {
  const { plan, definition } = migration;
  const sampling = migration.sampling as Sampling;
  const filled = sampling.filled ?? 0;
  const recent = known && ctx.clock.now() - known.source.takenAt < sourceStatisticsAge;
  const before = {
    ...(known ? { checkLimit: known.checkLimit } : {}),
    ...(recent ? { source: known.source } : {}),
  };
  const { report, ...learnt } = await withClient(ctx.pool, (client) =>
    evaluate(client, plan, definition.confidence, { pi0: filled, ...before }),
  );
  const counts = await shadowCounts(ctx.pool, plan);
  const lag = lanes ? await lagNow(ctx, migration, lanes) : lagKnown(migration);
  const inARow = report.holds ? (migration.confident_in_a_row as number) + 1 : 0;
  const gate = triggerMigration({
    report,
    inARow,
    needed: definition.confidence.consecutive,
    wanted: counts.wanted,
    present: counts.present,
    filled: sampling.pi0 !== undefined && filled >= sampling.pi0,
    backlog: lag.backlog,
    lagSeconds: lag.ms_p99 / 1000,
    horizonSeconds: seconds(definition.predict.horizon),
    modelAgeSeconds: modelAge(ctx, migration),
    logLagSeconds: definition.queryLog ? await logLag(ctx.pool, migration.id) : null,
  });
  const written = await updateEvaluation(ctx.pool, migration, {
    rows_total: Math.round(learnt.source.rows),
    shadow_table_status: {
      completeness: counts.wanted > 0 ? counts.present / counts.wanted : null,
      accuracy: report.accuracy,
      rows: counts.present,
      wanted: counts.wanted,
      strata: counts.strata,
    },
    migration_confidence_level: report.level,
    confidence_lower_bound: report.lower,
    similarity_score: report.similarity_score,
    change_rate_factor: report.change_rate_factor,
    confidence: report,
    confident_in_a_row: inARow,
    ...coverageColumn(coverage),
    evaluated_at: new Date(ctx.clock.now() * 1000),
    gate,
    ...(lanes ? { lag } : {}),
    wait_reason: gate.open ? null : waitReason(gate, migration),
  });
  return { gate: written ? gate : null, known: learnt };
}

/** What holds the gate; and what holds the lanes, if that is why. */
function waitReason({ reasons }: Gate, { throttle_state }: Migration): string | null {
  const { source, reason } = (throttle_state ?? {}) as Partial<ThrottleState>;
  if (!reasons[0]) return null;
  return source ? `${reasons[0]} (${reason})` : reasons[0];
}

function modelAge({ clock }: Context, { model }: Migration): number | null {
  const { trained_at: trainedAt } = (model ?? {}) as { trained_at?: string };
  return trainedAt === undefined ? null : Math.max(0, clock.now() - Date.parse(trainedAt) / 1000);
}

/** A process that has measured nothing yet does not wipe out what another one found. */
export function coverageColumn(coverage: Coverage | null): { coverage?: CoverageReport } {
  const report = coverage?.report();
  return report ? { coverage: report } : {};
}

export interface Lag {
  readonly ms_p50: number;
  readonly ms_p99: number;
  readonly backlog: number;
}

/** The lag that the process with the lanes has written down; until it has, changes count as late. */
function lagKnown(migration: Migration): Lag {
  return (migration.lag as Lag | null) ?? { ms_p50: unknownLag, ms_p99: unknownLag, backlog: 0 };
}
const unknownLag = 60_000;

/** Milliseconds from a change to its refresh, of the latest refreshed rows; and what still waits. */
export async function lagNow(ctx: Context, migration: Migration, lanes: Lanes): Promise<Lag> {
  const lags = [...lanes.lags].sort((a, b) => a - b);
  const at = (q: number) => (lags.length ? Math.round(quantileSorted(lags, q) * 10_000) / 10 : 0);
  return { ms_p50: at(0.5), ms_p99: at(0.99), backlog: await backlog(ctx.pool, migration.plan) };
}

/** Whether the last evaluation is old enough for another one. */
export function evaluationIsDue(migration: Migration, now: number): boolean {
  const last = migration.evaluated_at as Date | null;
  return last === null || now - last.getTime() / 1000 >= seconds(migration.definition.confidence.every);
}
