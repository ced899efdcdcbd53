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
  /** most members to check row by row in one evaluation; another random choice each time (5,000) */
  readonly checkLimit?: number;
}

export interface Evaluation {
  readonly report: ConfidenceReport;
  /** to be handed to the next evaluation */
  readonly source: SourceStatistics;
  /** rows that the next evaluation should check, by the time that these took */
  readonly checkLimit: number;
}

/**
 * One evaluation of the confidence level, in a REPEATABLE READ READ ONLY transaction of its own, so that all numbers
 * are of one snapshot. Statistics of the source, which take the longest, are measured before it, in a snapshot of their
 * own: what changed since counts as changed. The client must not be in a transaction; statement_timeout is the caller's.
 */
export async function evaluate(
  client: ClientBase,
  plan: TablePlan,
  settings: MigrationFile['confidence'],
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { fields } = comparableFields(plan, settings.fields);
  const known = options.source && covers(options.source, fields) ? options.source : null;
  const first =
    known && (await snapshot(client, () => measureAndJudge(client, plan, settings, known, options)));
  if (first) return first;
  const source = await collectSourceStatistics(client, plan, fields, options);
  const anew = { ...options, maxDrift: Number.POSITIVE_INFINITY };
  const evaluation = await snapshot(client, () => measureAndJudge(client, plan, settings, source, anew));
  if (!evaluation) throw new Error('unreachable: what was measured just now serves');
  return evaluation;
}

async function snapshot<T>(client: ClientBase, work: () => Promise<T>): Promise<T> {
  await client.query('begin isolation level repeatable read read only');
  try {
    const result = await work();
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch(() => {}); // the connection may be gone: the first error says more
    throw error;
  }
}

/** Members that are checked in the first evaluation; later as many as can be in this time, within these bounds. */
const firstChecked = 5000;
const checkMs = 500;
const fewestChecked = 1000;
const mostChecked = 50_000;

/**
 * Random members that are looked at, in order of u: a rate below the one that the shadow is filled at makes a smaller sample
 * that is just as fair. So many are counted in less than a second, and tell distances of 0.004 from none: 1.36/√m, as in
 * `sampler/certifiable.ts`. Where the threshold asks for more, they tell a fifth of what it allows: the bounds of a level have
 * more in them than that distance.
 */
const enoughRandom = ({ threshold, fieldThreshold }: MigrationFile['confidence']) =>
  Math.max(100_000, ((5 * 1.36) / (1 - Math.max(threshold, fieldThreshold))) ** 2);

/** @returns null when the source has moved on so far that it must be measured anew */
async function measureAndJudge(
  client: ClientBase,
  plan: TablePlan,
  settings: MigrationFile['confidence'],
  source: SourceStatistics,
  options: EvaluateOptions,
): Promise<Evaluation | null> {
  const { fields, unknown } = comparableFields(plan, settings.fields);
  const members = await memberState(client, plan);
  const nB = Math.max(1, source.rows - members.presentA - members.absentA);
  const all = Math.min(options.pi0, members.firstAbsent ?? options.pi0);
  const piEff = Math.min(all, enoughRandom(settings) / nB);
  const windowStart = members.now - seconds(settings.window);
  const since = Math.min(source.changesSince, windowStart);
  const { changed, inWindow } = await changedKeys(client, plan, since, windowStart);
  // measuring again cannot help against what changes within every window
  const drift = (changed - inWindow) / Math.max(1, source.rows);
  if (drift > (options.maxDrift ?? 0.01)) return null;
  const counted = await countMembers(client, plan, fields, source, piEff);
  const limit = options.checkLimit ?? firstChecked;
  const present = Math.max(1, members.presentA + counted.randomMembers);
  const began = performance.now();
  const salt = Math.floor(members.now * 1000);
  // another part of them each time: what came in late may be wrong where what came in early is right
  const from = seededRng(salt)() * (all - piEff);
  const checks = await checkedMembers(client, plan, {
    from,
    until: from + piEff,
    rate: Math.min(1, limit / present),
    salt,
  });
  const perRow = (performance.now() - began) / Math.min(limit, present);

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
  const affordable = Math.round(checkMs / Math.max(1e-6, perRow));
  return { report, source, checkLimit: Math.max(fewestChecked, Math.min(mostChecked, affordable)) };
}

function covers(source: SourceStatistics, fields: readonly ComparableField[]): boolean {
  const names = new Set([...source.fields, ...source.unmeasured].map(({ name }) => name));
  return fields.every(({ name }) => names.has(name));
}
