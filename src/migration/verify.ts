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

/**
 * Compares every row of T with f(S), both ways, by image. A difference is copied anew through the lanes and looked at
 * again; keys with pending log rows are left out, because lanes have yet to bring them.
 * @param snapshots into how many statements the comparison is cut (1: the whole table in one snapshot)
 * @throws ForeshadowError VERIFICATION_FAILED, with the keys, when a difference persists
 */
export async function verify(
  pool: Pool,
  plan: TablePlan,
  options: {
    snapshots: number;
    clock: Clock;
    signal?: AbortSignal;
    repair: boolean;
    onProgress?: (share: number) => void;
    /** throws what has stopped the lanes: without them nothing is copied anew, and waiting would never end */
    check?: () => void;
  },
): Promise<Verification> {
  const ranges = merged(await sourceRanges(pool, plan), options.snapshots);
  const total: Comparison = {
    missing: 0,
    extra: 0,
    different: 0,
    compared: 0,
    keys: { missing: [], extra: [], different: [] },
  };
  let repairs = 0;
  for (const [i, bounds] of ranges.entries()) {
    let found = await withClient(pool, (client) => compareSource(client, plan, bounds));
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
    await failpoint('verify.source-compared');
    add(total, found);
    options.onProgress?.((i + 1) / ranges.length / 2);
  }
  for (let after: string[] | null = null; ; ) {
    const run: Awaited<ReturnType<typeof compareTarget>> = await withClient(pool, (client) =>
      compareTarget(client, plan, after, targetRun),
    );
    add(total, {
      missing: 0,
      different: 0,
      compared: 0,
      extra: run.extra,
      keys: { missing: [], different: [], extra: run.keys },
    });
    if (!run.next) break;
    after = run.next;
    options.signal?.throwIfAborted();
  }
  await failpoint('verify.target-compared');
  return { ...total, repairs };
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

function add(total: Comparison, found: Comparison): void {
  total.missing += found.missing;
  total.extra += found.extra;
  total.different += found.different;
  total.compared += found.compared;
  for (const kind of ['missing', 'extra', 'different'] as const) {
    total.keys[kind].push(...found.keys[kind].slice(0, named - total.keys[kind].length));
  }
}
