import type { Client, Pool } from 'pg';
import { seconds } from '../../config/migration-file.ts';
import type { Clock } from '../../core/clock.ts';
import { ForeshadowError } from '../../core/errors.ts';
import { codeOf, isConnectionError, isRetryable, sqlstate } from '../../db/sqlstate.ts';
import { backlog, type LaneStamp, setLaneMode, stampSql } from '../../sync/lane.queries.ts';
import {
  databaseNow,
  getMigration,
  type Migration,
  moveStatus,
  recordEvent,
  routeTo,
} from '../status.store.ts';
import { lockHolders, olderSnapshots, sayBlockers } from './blockers.queries.ts';
import { physicalOf, swapSql, withSwapXid } from './swap.ts';

/** 100 ms: longer, and everybody queues behind our request. */
const lockTimeout = 100;
/** Transactions on S that are older than this will not end within an attempt; no use in asking for the lock. */
const longTransaction = 1;

/** Changes that lanes bring in well under a budget. With more than that, writers would be held back for nothing. */
const mostBacklog = 2000;
const moment = () => new Promise((resolve) => setTimeout(resolve, 1));

/** An attempt that did not get through. Nothing was changed, and nobody waited longer than the budget. */
class Blocked extends Error {}

export interface CutoverOptions {
  readonly pool: Pool;
  readonly connect: () => Promise<Client>;
  readonly clock: Clock;
  readonly maxAttempts: number;
  readonly signal?: AbortSignal;
  readonly onWait: (reason: string) => Promise<void>;
}

/**
 * IN_PROGRESS → COMPLETED: writers are held back for a moment, lanes drain the key log to zero and commit, and names
 * change. Attempts are bounded by the budget and repeated with growing pauses; each failed one changes nothing.
 * @throws ForeshadowError CUTOVER_BLOCKED after `maxAttempts`, naming who stood in the way
 */
export async function cutOverWrites(migration: Migration, options: CutoverOptions): Promise<Migration> {
  let blocked = 0;
  for (let attempt = 1; ; attempt++) {
    const client = await options.connect();
    try {
      return await attemptSwap(client, migration, options.pool, { attempt, blocked });
    } catch (error) {
      await client.query('rollback').catch(() => undefined);
      // The answer to COMMIT may be lost; the status row, written in the same transaction, knows.
      if (isConnectionError(error)) {
        const now = await getMigration(options.pool, migration.name);
        if (now.status === 'COMPLETED') return now;
      }
      const again =
        error instanceof Blocked || isRetryable(error) || codeOf(error) === sqlstate.queryCanceled;
      if (!again) throw error;
      const reason =
        error instanceof Blocked
          ? error.message
          : `${(error as Error).message} (${codeOf(error) ?? 'connection'})`;
      if (attempt >= options.maxAttempts) {
        throw new ForeshadowError(
          'CUTOVER_BLOCKED',
          `write cutover did not get through in ${attempt} attempts: ${reason}`,
        );
      }
      blocked = attempt;
      await options.onWait(`write cutover, attempt ${attempt}: ${reason}`);
    } finally {
      await client.end().catch(() => undefined);
    }
    const pause = Math.min(5000, 50 * 2 ** Math.min(7, attempt));
    await options.clock.sleep(pause * (0.5 + Math.random() / 2), options.signal);
  }
}

async function attemptSwap(
  client: Client,
  migration: Migration,
  pool: Pool,
  tries: { attempt: number; blocked: number },
): Promise<Migration> {
  const { plan } = migration;
  const budget = seconds(migration.definition.cutover.budget) * 1000;
  await client.query('begin isolation level read committed read write');
  // Ends an autovacuum of S, which would defeat every short attempt below; blocks no reader or writer.
  await client.query("set local lock_timeout = '3s'");
  await client.query(`lock table ${plan.names.source} in share update exclusive mode`);
  await requireReady(client, migration);

  const holders = await lockHolders(client, plan.sourceOid, longTransaction);
  if (holders.length)
    throw new Blocked(`waiting for long transactions on ${plan.names.source}: ${sayBlockers(holders)}`);
  const early = await olderSnapshots(client, plan.sourceOid, migration.copied_at as Date);
  if (early.length)
    throw new Blocked(`waiting for snapshots from before the end of the copy: ${sayBlockers(early)}`);

  const behind = await backlog(client, plan);
  if (behind > mostBacklog) throw new Blocked(`waiting for lanes: ${behind} changes are still to be copied`);

  // A process that is stopped or cut off while it holds the lock loses its session, and writers go on.
  await client.query(
    `set local lock_timeout = ${lockTimeout}; set local idle_in_transaction_session_timeout = ${Math.ceil(budget)}`,
  );
  const asked = performance.now();
  await client.query(`lock table ${plan.names.source} in exclusive mode`);
  const writersHeld = performance.now();
  const left = () => {
    const ms = Math.floor(budget - (performance.now() - writersHeld));
    if (ms <= 0) throw new Blocked(`the budget of ${budget} ms was used up`);
    return ms;
  };
  // lock_timeout counts for each lock; statement_timeout is what bounds the whole.
  const bounded = async () => client.query(`set local statement_timeout = ${left()}`);
  const within = async (sql: string) => client.query(`set local statement_timeout = ${left()}; ${sql}`);

  await bounded();
  while ((await client.query(`select 1 from ${plan.names.keyLog} limit 1`)).rowCount) {
    if (performance.now() - writersHeld > budget * 0.8) {
      throw new Blocked(
        'lanes did not drain the key log within the budget; is a process running this migration?',
      );
    }
    await moment(); // lanes need the processor more than we do
  }
  const drained = (await client.query<{ at: string }>('select clock_timestamp()::text as at')).rows[0]
    ?.at as string;
  for (;;) {
    const old = await olderSnapshots(client, plan.sourceOid, drained);
    if (!old.length) break;
    if (performance.now() - writersHeld > budget * 0.8)
      throw new Blocked(`waiting for snapshots from before the drain: ${sayBlockers(old)}`);
    await moment();
  }

  await bounded();
  await setLaneMode(client, plan, 'STOPPED');
  const statements = await swapSql(client, migration);
  await client.query(`set local lock_timeout = ${Math.min(lockTimeout, left())}`);
  const askedReaders = performance.now();
  // Recursively: overlay, T, key log, S, the order in which its readers lock them.
  await within(`lock table ${plan.names.overlay} in access exclusive mode`);
  const readersHeld = performance.now();
  if ((await client.query(`select 1 from ${plan.names.keyLog} limit 1`)).rowCount)
    throw new Blocked('the key log filled again');
  await bounded();
  await requireReady(client, migration);
  const xid = (await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid')).rows[0]
    ?.xid as string;
  await within(withSwapXid(statements, xid).join(';\n'));
  const moved = await moveStatus(client, migration, 'IN_PROGRESS', 'COMPLETED', {
    writes_cut_over_at: databaseNow,
    completed_at: databaseNow,
    wait_reason: null,
  });
  await routeTo(client, migration.id, 'target', 'target');
  await client.query('commit');
  const done = performance.now();
  const round = (ms: number) => Math.round(ms * 100) / 100;
  await recordEvent(pool, migration.id, 'lock', {
    kind: 'cutover-writers',
    wait_ms: round(writersHeld - asked),
    hold_ms: round(done - writersHeld),
    attempts: tries.attempt,
  });
  await recordEvent(pool, migration.id, 'lock', {
    kind: 'cutover-readers',
    wait_ms: round(readersHeld - askedReaders),
    hold_ms: round(done - readersHeld),
    attempts: tries.attempt,
  });
  return moved;
}

/** Everything that must still hold at the moment of the swap. */
async function requireReady(client: Client, migration: Migration): Promise<void> {
  const { plan } = migration;
  const physical = physicalOf(migration);
  const { rows } = await client.query<LaneStamp & { copied: boolean; invalid: string[] }>(
    `select ${stampSql(plan)}, (select bool_and(done) from ${plan.names.range}) as copied,
            array(select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid
                   where x.indrelid = ${plan.targetOid} and not x.indisvalid) as invalid`,
  );
  const now = rows[0] as (typeof rows)[0];
  if (now.capture !== physical.stamp.capture)
    throw new ForeshadowError('CAPTURE_BROKEN', `the capture trigger on ${plan.names.source} was changed`);
  if (now.source !== physical.stamp.source || now.target !== physical.stamp.target) {
    throw new ForeshadowError('SCHEMA_CHANGED', 'source or target was altered during the migration');
  }
  if (!now.copied) throw new Blocked('the copy is not complete');
  if (now.invalid.length) throw new Blocked(`indexes of the target are not valid: ${now.invalid.join(', ')}`);
}
