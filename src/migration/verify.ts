import type { Pool } from 'pg';
import type { Clock } from '../core/clock.ts';
import { ForeshadowError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { TablePlan } from '../core/plan.ts';
import { withClient } from '../db/tx.ts';
import { lastKeyOf } from '../sync/chunk.queries.ts';
import type { KeyBounds } from '../sync/fragments.ts';
import { backlog } from '../sync/lane.queries.ts';
import { fullSpeed, nextChunkRows } from '../sync/pacing.ts';
import {
  type Comparison,
  compareSource,
  compareTarget,
  comparing,
  named,
  redirty,
} from './verify.queries.ts';

/** How often what differs is copied anew before the difference counts as real. */
const rounds = 3;
/** Rows of the first statement, and at most; in between as many as take half a second, so that no snapshot becomes old. */
const firstRows = 2000;
const mostRows = 100_000;
const statementMs = 500;

export interface Verification extends Comparison {
  /** how many times differing rows were copied anew before this result */
  readonly repairs: number;
}

/** A comparison in several steps: what was found so far, and where it goes on. */
export interface VerificationProgress extends Verification {
  /** rows of the next statement */
  readonly atOnce: number;
  /** the last of S's keys that was looked at; null before the first */
  readonly from: readonly string[] | null;
  /** all of S was looked at; now come T's keys */
  readonly sourceDone: boolean;
  /** the last of T's keys that was looked at; null before the first */
  readonly after: readonly string[] | null;
  /** how many of T's keys were looked at */
  readonly lookedUp: number;
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

export function beginVerification(): VerificationProgress {
  const keys = { missing: [], extra: [], different: [] };
  return {
    missing: 0,
    extra: 0,
    different: 0,
    compared: 0,
    keys,
    repairs: 0,
    atOnce: firstRows,
    from: null,
    sourceDone: false,
    after: null,
    lookedUp: 0,
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
  const { clock } = options;
  const { atOnce } = progress;
  const began = clock.now();
  const fitted = () =>
    nextChunkRows(atOnce, (clock.now() - began) * 1000, { ...fullSpeed, chunkMs: statementMs }, 1, mostRows);
  if (!progress.sourceDone) {
    const rest = { low: progress.from, high: null };
    const high = await withClient(pool, (client) => lastKeyOf(client, plan, rest, atOnce));
    const bounds = { ...rest, high };
    const first = await comparing(pool, (client) => compareSource(client, plan, bounds));
    const next = fitted();
    const { found, repairs } = await repaired(pool, plan, bounds, first, options);
    await failpoint('verify.source-compared');
    return {
      ...progress,
      ...sum(progress, found),
      repairs: progress.repairs + repairs,
      atOnce: next,
      from: high,
      sourceDone: high === null,
    };
  }
  const run = await comparing(pool, (client) => compareTarget(client, plan, progress.after, atOnce));
  await failpoint('verify.target-compared');
  const keys = { missing: [], different: [], extra: run.keys };
  const found = { missing: 0, different: 0, compared: 0, extra: run.extra, keys };
  return {
    ...progress,
    ...sum(progress, found),
    atOnce: fitted(),
    after: run.next,
    lookedUp: progress.lookedUp + run.rows,
    done: run.next === null,
  };
}

async function repaired(
  pool: Pool,
  plan: TablePlan,
  bounds: KeyBounds,
  first: Comparison,
  options: VerifyOptions,
): Promise<{ found: Comparison; repairs: number }> {
  let found = first;
  let repairs = 0;
  for (let round = 0; options.repair && round < rounds && found.missing + found.different > 0; round++) {
    repairs += await comparing(pool, (client) => redirty(client, plan, bounds));
    while ((await backlog(pool, plan)) > 0) {
      options.check?.();
      await options.clock.sleep(20, options.signal);
    }
    found = {
      ...(await comparing(pool, (client) => compareSource(client, plan, bounds))),
      compared: found.compared,
    };
  }
  return { found, repairs };
}

/** Compares every row of T with f(S), both ways, by image. */
export async function verify(pool: Pool, plan: TablePlan, options: VerifyOptions): Promise<Verification> {
  let progress = beginVerification();
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
