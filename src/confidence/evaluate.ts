import type { ClientBase } from 'pg';
import { type MigrationFile, seconds } from '../config/migration-file.ts';
import type { TablePlan } from '../core/plan.ts';
import { seededRng } from '../core/rng.ts';
import { checkedMembers } from './checks.ts';
import { type ComparableField, comparableFields } from './fields.ts';
import { calculateMigrationConfidenceLevel } from './level.ts';
import { changedKeys, memberState } from './member.queries.ts';
import type { ConfidenceReport } from './report.ts';
import { countMembers } from './shadow-statistics.ts';
import { collectSourceStatistics, type SourceOptions, type SourceStatistics } from './source-statistics.ts';

export interface EvaluateOptions extends SourceOptions {
  /** the stored rate of the random remainder */
  readonly pi0: number;
  /** from an earlier evaluation; measured anew when absent, when it lacks a field, or when the source has moved on */
  readonly source?: SourceStatistics;
  /** share of the table that may change, beyond the last window, before the source is measured anew (0.01) */
  readonly maxDrift?: number;
  /** most members to check row by row in one evaluation; another random choice each time (50,000) */
  readonly checkLimit?: number;
}

export interface Evaluation {
  readonly report: ConfidenceReport;
  /** to be handed to the next evaluation */
  readonly source: SourceStatistics;
}

/**
 * One evaluation of the confidence level, in a REPEATABLE READ READ ONLY transaction of its own, so that all numbers
 * are of one snapshot. The client must not be in a transaction; statement_timeout is the caller's.
 */
export async function evaluate(
  client: ClientBase,
  plan: TablePlan,
  settings: MigrationFile['confidence'],
  options: EvaluateOptions,
): Promise<Evaluation> {
  await client.query('begin isolation level repeatable read read only');
  try {
    const evaluation = await measureAndJudge(client, plan, settings, options);
    await client.query('commit');
    return evaluation;
  } catch (error) {
    await client.query('rollback').catch(() => {}); // the connection may be gone: the first error says more
    throw error;
  }
}

async function measureAndJudge(
  client: ClientBase,
  plan: TablePlan,
  settings: MigrationFile['confidence'],
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { fields, unknown } = comparableFields(plan, settings.fields);
  const members = await memberState(client, plan);
  const piEff = Math.min(options.pi0, members.firstAbsent ?? options.pi0);
  const windowStart = members.now - seconds(settings.window);
  const { source, changed } = await currentSource(client, plan, fields, windowStart, options);
  const counted = await countMembers(client, plan, fields, source, piEff);
  const checks = await checkedMembers(client, plan, {
    piEff,
    rate: Math.min(1, (options.checkLimit ?? 50_000) / Math.max(1, members.presentA + counted.randomMembers)),
    salt: Math.floor(members.now * 1000),
  });

  const report = calculateMigrationConfidenceLevel(
    {
      strata: { N: source.rows, nA: counted.certainMembers + members.absentA },
      absentA: members.absentA,
      piEff,
      randomMembers: counted.randomMembers,
      fields: counted.fields,
      unmeasured: [
        ...source.unmeasured,
        ...counted.unmeasured,
        ...checks.unmeasured,
        ...unknown.map((name) => ({ name, why: 'no column of this name goes through the row map' })),
      ],
      changedKeys: changed,
      sync: checks.sync,
      map: checks.map,
      checks: checks.results,
      checksSampled: checks.sampled,
      source,
    },
    settings,
    seededRng(plan.seed),
  );
  return { report, source };
}

/** The caller's statistics while they serve, new ones otherwise; and how many keys changed since. */
async function currentSource(
  client: ClientBase,
  plan: TablePlan,
  fields: readonly ComparableField[],
  windowStart: number,
  options: EvaluateOptions,
): Promise<{ source: SourceStatistics; changed: number }> {
  const changesOf = (source: SourceStatistics) =>
    changedKeys(client, plan, Math.min(source.changesSince, windowStart), windowStart);
  const known = options.source;
  if (known && covers(known, fields)) {
    const { changed, inWindow } = await changesOf(known);
    // measuring again cannot help against what changes within every window
    const drift = (changed - inWindow) / Math.max(1, known.rows);
    if (drift <= (options.maxDrift ?? 0.01)) return { source: known, changed };
  }
  const source = await collectSourceStatistics(client, plan, fields, options);
  return { source, changed: (await changesOf(source)).changed };
}

function covers(source: SourceStatistics, fields: readonly ComparableField[]): boolean {
  const names = new Set([...source.fields, ...source.unmeasured].map(({ name }) => name));
  return fields.every(({ name }) => names.has(name));
}
