import type { Client, Pool } from 'pg';
import { seconds } from '../../config/migration-file.ts';
import { ForeshadowError } from '../../core/errors.ts';
import { failpoint } from '../../core/failpoint.ts';
import type { TablePlan } from '../../core/plan.ts';
import { isStaleName } from '../../db/sqlstate.ts';
import { together } from '../../db/tx.ts';
import { backlog, laneMode, setLaneMode } from '../../sync/lane.queries.ts';
import { markAsLaneSql } from '../../sync/lane.ts';
import { refreshAll } from '../../sync/refresh.queries.ts';
import { refreshUnique } from '../../sync/unique.queries.ts';
import { type Migration, moveStatus, recordEvent, routeTo } from '../status.store.ts';
import { keptSnapshots, lockHolders, sayBlockers } from './blockers.queries.ts';
import { Blocked, type Exchange, StaleName } from './exchange.ts';
import { type HandoverPlan, planHandovers } from './handovers.ts';
import { gaveUpWaiting, type Instant, instantNow, OlderSnapshots, type Queued } from './older-snapshots.ts';
import { boundStamp, heldTables, lockRelatives, lockViewSql } from './relatives.ts';
import { lastMinute, type Script } from './script.ts';
import { withSwapXid } from './swap.ts';

/** 100 ms: longer, and everybody queues behind our request. */
const lockTimeout = 100;
/** Transactions on S that are older than this will not end within an attempt; no use in asking for the lock. */
const longTransaction = 1;
/** Changes that lanes bring in well under a budget. With more than that, writers would be held back for nothing. */
const mostBacklog = 2000;
const moment = () => new Promise((resolve) => setTimeout(resolve, 1));

/** The time that others may be held, counted from the first lock that holds them. */
interface Budget {
  /** ms that are left. @throws Blocked when none are */
  left(): number;
  /** most of it is gone: too late to begin with the renames */
  readonly late: boolean;
  /** when the first lock was had, and asked for, in ms of performance.now() */
  readonly asked: number;
  readonly held: number;
}

function startBudget(migration: Migration, asked: number): Budget {
  const total = seconds(migration.definition.cutover.budget) * 1000;
  const held = performance.now();
  return {
    asked,
    held,
    left() {
      const ms = Math.floor(total - (performance.now() - held));
      if (ms <= 0) throw new Blocked(`the budget of ${total} ms was used up`);
      return ms;
    },
    get late() {
      return performance.now() - held > total * 0.8;
    },
  };
}

/** lock_timeout counts for each lock; statement_timeout, set anew before each step, is what bounds the whole. */
const bound = (client: Client, budget: Budget) =>
  client.query(`set local statement_timeout = ${budget.left()}`);

/** Whether changes wait for lanes, and a moment at or before which they did not. */
async function lookAtLog(client: Client, plan: TablePlan): Promise<{ filled: boolean; at: Instant }> {
  const [{ rowCount }, at] = await together(client, [
    () => client.query(`select 1 from ${plan.names.keyLog} limit 1`),
    () => instantNow(client),
  ]);
  return { filled: Boolean(rowCount), at };
}

/**
 * Begins an attempt: nobody is held yet, and whatever would defeat it is named.
 * @returns what is bound to S by now, how it goes along, and the statements of the exchange
 */
async function prepare(
  client: Client,
  exchange: Exchange,
): Promise<{ handover: HandoverPlan; script: Script }> {
  const { plan } = exchange;
  const handover = await planHandovers(client, exchange.move);
  const refused = handover.refused.find((each) => !exchange.keeps(each));
  if (refused) {
    throw new ForeshadowError(
      'DEPENDENT_REFUSED',
      `${plan.names.source}: ${refused.object} depends on it, and came after the migration began: ${refused.refused}`,
      { table: plan.names.source, object: refused.object },
    );
  }
  await client.query('begin isolation level read committed read write');
  // Ends an autovacuum of any of them, which would defeat every short attempt below; blocks no reader or writer.
  await client.query("set local lock_timeout = '3s'");
  await client.query(`lock table ${plan.names.source}, ${plan.names.target} in share update exclusive mode`);
  for (const { name } of handover.relatives)
    await client.query(`lock table only ${name} in share update exclusive mode`);
  await exchange.requireReady(client);
  const held = heldTables(plan, handover);
  const holders = await lockHolders(client, held, longTransaction);
  if (holders.length) {
    const tables = [plan.names.source, ...handover.relatives.map(({ name }) => name)].join(', ');
    throw new Blocked(`waiting for long transactions on ${tables}: ${sayBlockers(holders)}`, holders);
  }
  const complete = { at: exchange.complete.at, horizon: null, busy: false };
  const { left: early } = await new OlderSnapshots(held, complete).look(client);
  if (early.length)
    throw new Blocked(
      `waiting for snapshots from before ${exchange.complete.event}: ${sayBlockers(early)}`,
      early,
    );
  const behind = await backlog(client, plan);
  if (behind > mostBacklog) throw new Blocked(`waiting for lanes: ${behind} changes are still to be copied`);
  const script = await exchange.script(client, handover);
  await failpoint('cutover.prepared');
  return { handover, script };
}

/** What will be asked while others wait, asked before: its plans and the catalogue are at hand then. No answer counts. */
async function rehearse(client: Client, exchange: Exchange, handover: HandoverPlan): Promise<void> {
  await lastMinute(client, exchange.move);
  await boundStamp(client, exchange.plan.sourceOid);
  const held = heldTables(exchange.plan, handover);
  const { answered } = await new OlderSnapshots(held, await instantNow(client)).look(client);
  await gaveUpWaiting(client, held, answered);
}

/** A process that is stopped or cut off while it holds locks loses its session, and the application goes on. */
async function beginHolding(client: Client, migration: Migration): Promise<void> {
  const idle = Math.ceil(seconds(migration.definition.cutover.budget) * 1000);
  await client.query(
    `set local lock_timeout = ${lockTimeout}; set local idle_in_transaction_session_timeout = ${idle}`,
  );
}

/**
 * Holds back who writes to S or to a table bound to it by a foreign key. The application's transactions lock these in one
 * order or the other, parent and then child or a child alone, whose check then waits for S: whichever order is taken here,
 * some of them come across. So the order changes from one attempt to the next, and the pauses between attempts vary.
 */
async function holdWriters(
  client: Client,
  { migration, plan }: Exchange,
  handover: HandoverPlan,
  attempt: number,
): Promise<Budget> {
  const asked = performance.now();
  let budget: Budget | undefined;
  const step = async () => budget && bound(client, budget);
  const source = () => client.query(`lock table ${plan.names.source} in exclusive mode`);
  const relatives = () => lockRelatives(client, handover, 'share row exclusive', step);
  const relativesFirst = handover.relatives.length > 0 && attempt % 2 === 0;
  for (const lock of relativesFirst ? [relatives, source] : [source, relatives]) {
    await step();
    await lock();
    budget ??= startBudget(migration, asked); // from the first lock that holds somebody
  }
  return budget as Budget;
}

/**
 * The gentle way: writers are held back (EXCLUSIVE) while readers go on and lanes drain the log and commit; readers are
 * held for the renames only. Exact for every isolation level.
 */
export async function easedSwap(
  client: Client,
  exchange: Exchange,
  pool: Pool,
  attempt: number,
): Promise<Migration> {
  const { plan, migration } = exchange;
  const { definition } = migration;
  await client.query('set plan_cache_mode = force_generic_plan');
  const { handover, script } = await prepare(client, exchange);
  const held = heldTables(plan, handover);
  await rehearse(client, exchange, handover);
  await beginHolding(client, migration);
  const budget = await holdWriters(client, exchange, handover, attempt);
  await failpoint('cutover.writers-held');
  let [, log] = await together(client, [() => bound(client, budget), () => lookAtLog(client, plan)]);
  while (log.filled) {
    if (budget.late) {
      throw new Blocked(
        'lanes did not drain the key log within the budget; is a process running this migration?',
      );
    }
    await moment(); // lanes need the processor more than we do
    log = await lookAtLog(client, plan);
  }
  await failpoint('cutover.drained');
  const snapshots = new OlderSnapshots(held, log.at, definition.cutover.isolation);
  let queued: readonly Queued[] = [];
  for (;;) {
    const { left: old, answered } = await snapshots.look(client);
    queued = answered;
    if (!old.length) break;
    // Who waits for us otherwise than to write will not go away while we wait for him.
    if (budget.late || old.some((session) => session.queued))
      throw new Blocked(`waiting for snapshots from before the drain: ${sayBlockers(old)}`, old);
    await moment();
  }
  await failpoint('cutover.snapshots-gone');
  await together(client, [() => bound(client, budget), () => setLaneMode(client, plan, 'STOPPED')]);
  await failpoint('cutover.lanes-stopped');
  const readers = { asked: performance.now(), held: 0 };
  await together(client, [
    () => client.query(`set local lock_timeout = ${Math.min(lockTimeout, budget.left())}`),
    () => bound(client, budget),
  ]);
  // Views of the user first, each alone: their readers lock the view, and then S.
  for (const view of handover.views) await client.query(lockViewSql(view));
  await together(client, [
    () => bound(client, budget),
    () => client.query(`lock table ${exchange.readers} in access exclusive mode`),
  ]);
  await lockRelatives(client, handover, 'access exclusive', () => bound(client, budget));
  readers.held = performance.now();
  await failpoint('cutover.readers-held');
  return finish(client, exchange, pool, { attempt, budget, readers, script, queued, handover });
}

/**
 * The short stop, for applications in READ COMMITTED whose transactions read the table and then write it: those keep
 * their read lock while they queue for the write, and would defeat the gentle way for ever. Everybody is held at once,
 * transactions under way finish first (PostgreSQL lets them pass), and this session drains the log itself. Statements
 * that queue take a new snapshot when they go on; a REPEATABLE READ transaction would not, hence the condition.
 */
export async function briefStop(
  client: Client,
  exchange: Exchange,
  pool: Pool,
  attempt: number,
): Promise<Migration> {
  const { plan, migration } = exchange;
  const { handover, script } = await prepare(client, exchange);
  const mode = await laneMode(client, plan);
  // Before anything is held: from here on lanes find their rows locked and leave at once.
  await setLaneMode(client, plan, 'STOPPED');
  await failpoint('stop.lanes-stopped');
  await beginHolding(client, migration);
  await client.query(markAsLaneSql.replace('set ', 'set local '));
  const asked = performance.now();
  const [first, ...others] = exchange.inTurn;
  await client.query(first);
  const budget = startBudget(migration, asked);
  const step = () => bound(client, budget);
  for (const view of handover.views) await together(client, [step, () => client.query(lockViewSql(view))]);
  const relativesFirst = attempt % 2 === 0;
  if (relativesFirst) await lockRelatives(client, handover, 'access exclusive', step);
  for (const lock of others) await together(client, [step, () => client.query(lock)]);
  if (!relativesFirst) await lockRelatives(client, handover, 'access exclusive', step);
  await step();
  await failpoint('stop.everybody-held');
  const everything = { low: null, high: null };
  const refresh = () =>
    mode === 'UNIQUE'
      ? refreshUnique(client, plan, mostBacklog)
      : refreshAll(client, plan, everything, mostBacklog);
  while ((await refresh()).taken > 0) await bound(client, budget);
  await failpoint('stop.drained');
  return finish(client, exchange, pool, {
    attempt,
    budget,
    readers: budget,
    script,
    queued: null,
    handover,
  });
}

/**
 * The brief stop rests on the word that the application uses READ COMMITTED; where that can be seen to fail, it waits. Asked
 * under the locks only: a transaction that has just read with parameters keeps that statement's portal, and so a snapshot,
 * in READ COMMITTED too, but all that have read the table are over by then.
 */
async function requireNoKeptSnapshot(client: Client): Promise<void> {
  const kept = await keptSnapshots(client);
  if (kept.length)
    throw new Blocked(
      `waiting for transactions that keep a snapshot, though cutover.isolation says read-committed: ${sayBlockers(kept)}`,
      kept,
    );
}

/** The renames, the status row and the route, in the transaction that holds everybody; then its record. */
async function finish(
  client: Client,
  exchange: Exchange,
  pool: Pool,
  held: {
    attempt: number;
    budget: Budget;
    readers: { asked: number; held: number };
    script: Script;
    /** who was not waited for, because the guard will answer; null: nobody was asked, as all are in READ COMMITTED */
    queued: readonly Queued[] | null;
    handover: HandoverPlan;
  },
): Promise<Migration> {
  const { plan, migration } = exchange;
  const { budget, readers, attempt, handover } = held;
  const [, log, , transaction, stamp, last] = await together(client, [
    () => bound(client, budget),
    () => client.query(`select 1 from ${plan.names.keyLog} limit 1`),
    () => exchange.requireReady(client),
    () => client.query<{ xid: string }>('select pg_current_xact_id()::text as xid'),
    () => boundStamp(client, plan.sourceOid),
    () => lastMinute(client, exchange.move),
  ]);
  if (stamp !== handover.stamp) throw new Blocked(`what depends on ${plan.names.source} has just changed`);
  if (log.rowCount) throw new Blocked('the key log filled again');
  const swap = withSwapXid(held.script(last), transaction.rows[0]?.xid as string).join(';\n');
  const [, , moved] = await together(client, [
    () => bound(client, budget),
    () => client.query(swap),
    () => moveStatus(client, migration, exchange.from, exchange.to, exchange.columns),
    () => routeTo(client, migration.id, exchange.route, exchange.route),
  ]).catch((error: unknown) => {
    if (!isStaleName(error)) throw error;
    throw new StaleName(`a name has just been taken, or given up: ${(error as Error).message}`);
  });
  await failpoint('cutover.swapped');
  await failpoint('cutover.routed');
  if (!held.queued) await requireNoKeptSnapshot(client);
  const gone = await gaveUpWaiting(client, heldTables(plan, handover), held.queued ?? []);
  if (gone.length)
    throw new Blocked(`pid ${gone.join(', ')} queued with a snapshot from before the drain, and gave up`);
  await client.query('commit');
  await failpoint('cutover.committed');
  const done = performance.now();
  const round = (ms: number) => Math.round(ms * 100) / 100;
  for (const [kind, lock] of [
    ['writers', budget],
    ['readers', readers],
  ] as const) {
    await recordEvent(pool, migration.id, 'lock', {
      kind: `${exchange.kind}-${kind}`,
      wait_ms: round(lock.held - lock.asked),
      hold_ms: round(done - lock.held),
      attempts: attempt,
      tables: [plan.names.source, ...handover.relatives.map(({ name }) => name)],
    });
  }
  return moved;
}
