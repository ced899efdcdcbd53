import type { Pool } from 'pg';
import type { Clock } from '../core/clock.ts';
import { ForeshadowError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { TablePlan } from '../core/plan.ts';
import { withClient } from '../db/tx.ts';
import { sourceRanges } from '../sync/chunk.queries.ts';
import type { KeyBounds } from '../sync/fragments.ts';
import { backlog } from '../sync/lane.queries.ts';
import type { Migration } from './status.store.ts';
import { type Comparison, compareSource, compareTarget, named, redirty } from './verify.queries.ts';

/** T's keys looked at in one statement. */
const targetRun = 50_000;
/** How often what differs is copied anew before the difference counts as real. */
const rounds = 3;
/** Rows of S compared in one statement where the table is not compared in one go. */
const rowsPerSnapshot = 100_000;

export interface Verification extends Comparison {
  /** how many times differing rows were copied anew before this result */
  readonly repairs: number;
}

/** Into how many statements, and so snapshots, the comparison of a whole table is cut: one below the set size. */
export function comparisonSnapshots(migration: Migration): number {
  const rows = Number(migration.rows_total);
  return rows <= migration.definition.copy.fullCompareBelow ? 1 : Math.ceil(rows / rowsPerSnapshot);
}

/** Merges neighbouring ranges, so that a small table is compared in one snapshot and a large one in short ones. */
function merged(ranges: readonly KeyBounds[], into: number): KeyBounds[] {
  const count = Math.max(1, Math.min(into, ranges.length));
  return Array.from({ length: count }, (_, i) => ({
    low: ranges[Math.floor((i * ranges.length) / count)]?.low ?? null,
    high: ranges[Math.floor(((i + 1) * ranges.length) / count) - 1]?.high ?? null,
  }));
}

/** A comparison in several steps: what was found so far, and where it goes on. */
export interface VerificationProgress extends Verification {
  /** into how many statements, and so snapshots, S is cut */
  readonly snapshots: number;
  /** the next of them; when all are done, T's keys are looked at */
  readonly next: number;
  /** the last of T's keys that was looked at; null before the first */
  readonly after: readonly string[] | null;
  readonly done: boolean;
}

export interface VerifyOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  /** copy differing rows anew through the lanes, and look again */
  readonly repair: boolean;
  /** throws what has stopped the lanes: without them nothing is copied anew, and waiting would never end */
  readonly check?: () => void;
}

export function beginVerification(snapshots: number): VerificationProgress {
  const keys = { missing: [], extra: [], different: [] };
  return {
    missing: 0,
    extra: 0,
    different: 0,
    compared: 0,
    keys,
    repairs: 0,
    snapshots,
    next: 0,
    after: null,
    done: false,
  };
}

/**
 * One step of the comparison: a run of S against T, or a run of T's keys against S. A difference is copied anew through
 * the lanes and looked at again; keys with pending log rows are left out, because lanes have yet to bring them.
 */
export async function verifyNext(
  pool: Pool,
  plan: TablePlan,
  progress: VerificationProgress,
  options: VerifyOptions,
): Promise<VerificationProgress> {
  options.signal?.throwIfAborted();
  const ranges = merged(await sourceRanges(pool, plan), progress.snapshots);
  const bounds = ranges[progress.next];
  if (bounds) {
    const { found, repairs } = await compareRange(pool, plan, bounds, options);
    await failpoint('verify.source-compared');
    return {
      ...progress,
      ...sum(progress, found),
      repairs: progress.repairs + repairs,
      next: progress.next + 1,
    };
  }
  const run = await withClient(pool, (client) => compareTarget(client, plan, progress.after, targetRun));
  await failpoint('verify.target-compared');
  const keys = { missing: [], different: [], extra: run.keys };
  const found = { missing: 0, different: 0, compared: 0, extra: run.extra, keys };
  return { ...progress, ...sum(progress, found), after: run.next, done: run.next === null };
}

async function compareRange(
  pool: Pool,
  plan: TablePlan,
  bounds: KeyBounds,
  options: VerifyOptions,
): Promise<{ found: Comparison; repairs: number }> {
  let found = await withClient(pool, (client) => compareSource(client, plan, bounds));
  let repairs = 0;
  for (let round = 0; options.repair && round < rounds && found.missing + found.different > 0; round++) {
    repairs += await withClient(pool, (client) => redirty(client, plan, bounds));
    while ((await backlog(pool, plan)) > 0) {
      options.check?.();
      await options.clock.sleep(20, options.signal);
    }
    found = {
      ...(await withClient(pool, (client) => compareSource(client, plan, bounds))),
      compared: found.compared,
    };
  }
  return { found, repairs };
}

/**
 * Compares every row of T with f(S), both ways, by image.
 * @param options.snapshots into how many statements the comparison is cut (1: the whole table in one snapshot)
 */
export async function verify(
  pool: Pool,
  plan: TablePlan,
  options: VerifyOptions & { readonly snapshots: number },
): Promise<Verification> {
  let progress = beginVerification(options.snapshots);
  while (!progress.done) progress = await verifyNext(pool, plan, progress, options);
  return verificationOf(progress);
}

export function verificationOf(progress: VerificationProgress): Verification {
  const { missing, extra, different, compared, keys, repairs } = progress;
  return { missing, extra, different, compared, keys, repairs };
}

export function requireEqual(plan: TablePlan, result: Comparison): void {
  if (result.missing + result.extra + result.different === 0) return;
  const { missing, extra, different, keys } = result;
  const list = [...keys.missing, ...keys.extra, ...keys.different].slice(0, 10).join('; ');
  throw new ForeshadowError(
    'VERIFICATION_FAILED',
    `${plan.names.target} differs from the mapped source: ${missing} missing, ${extra} extra, ${different} different (keys ${list})`,
    { missing, extra, different, keys },
  );
}

function sum(total: Comparison, found: Comparison): Comparison {
  const names = (kind: keyof Comparison['keys']) =>
    [...total.keys[kind], ...found.keys[kind]].slice(0, named);
  return {
    missing: total.missing + found.missing,
    extra: total.extra + found.extra,
    different: total.different + found.different,
    compared: total.compared + found.compared,
    keys: { missing: names('missing'), extra: names('extra'), different: names('different') },
  };
}
