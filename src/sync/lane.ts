import type { Client } from 'pg';
import type { Clock } from '../core/clock.ts';
import { ForeshadowError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { TablePlan } from '../core/plan.ts';
import { codeOf, isConnectionError, isRetryable, sqlstate } from '../db/sqlstate.ts';
import { copyChunk, type KeyRange, laneBounds } from './chunk.queries.ts';
import type { KeyBounds } from './fragments.ts';
import { type Fence, fence, type LaneStamp, laneHolder, prepareFence, takeLane } from './lane.queries.ts';
import { admitWanted, evictLeaving } from './membership.queries.ts';
import { type Refreshed, refreshAll, refreshMembers } from './refresh.queries.ts';
import { refreshUnique } from './unique.queries.ts';

/** Rows a lane statement handles at once: tens of milliseconds, so that a cutover never waits long for a lane. */
const refreshRows = 1000;
const admitRows = 500;
/** Whoever changes the mode of the lanes waits for their transactions, so a chunk that takes longer (ms) is cut down. */
const longestChunk = 50;
const fewestChunkRows = 100;
/** While rows keep coming a lane looks again after 5 ms; idle, it doubles up to 50 ms. Polling, since NOTIFY costs writers. */
const shortestWait = 5;
const longestWait = 50;
/** How often a claim is tried when its connection is lost. */
const claims = 5;

/** Where the old table kept its name, a trigger refuses all who write to it, but for those that keep it in step. */
export const markAsLaneSql = `set foreshadow.lane = 'on'`;

export interface LaneWork {
  readonly lane: number;
  readonly mode: Fence['mode'];
  readonly refreshed: Refreshed;
  readonly copied: number;
  readonly moved: number;
}

export interface LaneOptions {
  readonly plan: TablePlan;
  readonly lane: number;
  /** what capture and both tables looked like when the migration began */
  readonly stamp: LaneStamp;
  /** at most; fewer where that many take too long */
  readonly chunkRows: number;
  readonly clock: Clock;
  readonly connect: () => Promise<Client>;
  /** how long to wait before the next chunk of `rows`, in ms; the throttle */
  readonly pace: (rows: number) => number;
  readonly onWork: (work: LaneWork) => void;
  readonly onRetry: (error: unknown, lane: number) => void;
}

/**
 * The one writer of T in its range of keys. Every transaction of a lane locks S against DDL, then its own row: no row
 * means that another process has taken the lane over, and this one is a zombie that must stop.
 */
export class Lane {
  readonly #options: LaneOptions;
  #client: Client | null = null;
  /** the connection that knows what {@link fence} executes */
  #prepared: Client | null = null;
  #epoch = 0;
  /** of this lane's latest connections: a claim whose answer was lost is recognised by them */
  #pids: number[] = [];
  /** null: the table is so small that this lane has no keys of its own */
  #bounds: KeyBounds | null = null;
  #nextChunkAt = 0;
  #chunkRows: number;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.#chunkRows = options.chunkRows;
  }

  /** Takes the lane over: from now on every transaction of an earlier holder finds no row. */
  async claim(): Promise<void> {
    const { plan, lane, clock } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#connect();
        this.#epoch = await takeLane(this.#session, plan, lane);
        await failpoint('lane.claimed');
        this.#bounds = await laneBounds(this.#session, plan, lane);
        return;
      } catch (error) {
        await this.#drop();
        if (!isRetryable(error) || attempt >= claims) throw error;
        await clock.sleep(50 * attempt);
      }
    }
  }

  /**
   * Works until aborted, stopped by the migration, or taken over. Lost connections and lock conflicts are met by trying
   * again; everything else is thrown.
   * @returns why it ended
   */
  async run(signal: AbortSignal): Promise<'aborted' | 'stopped' | 'taken over'> {
    let wait = shortestWait;
    let failures = 0;
    while (!signal.aborted) {
      try {
        if (!this.#client) await this.#reclaim();
        const work = await this.tick();
        if (work === 'stopped' || work === 'taken over') return work;
        failures = 0;
        const busy = work.refreshed.taken > 0 || work.copied > 0 || work.moved > 0;
        wait = busy ? shortestWait : Math.min(longestWait, wait * 2);
        const more = work.refreshed.taken >= refreshRows || work.copied > 0 || work.moved >= admitRows;
        if (more) continue; // a backlog, or chunks to copy: no pause
      } catch (error) {
        if (isConnectionError(error) || !(await this.#rollback())) await this.#drop();
        if (error instanceof TakenOver) return 'taken over';
        if (!isRetryable(error)) throw describe(error, this.#options.plan);
        this.#options.onRetry(error, this.#options.lane);
        failures += 1;
        wait = Math.min(1000, 20 * 2 ** failures);
      }
      await this.#options.clock.sleep(wait, signal).catch(() => undefined);
    }
    return 'aborted';
  }

  /** One lane transaction. */
  async tick(): Promise<LaneWork | 'stopped' | 'taken over'> {
    const { plan, lane } = this.#options;
    const client = this.#session;
    if (this.#prepared !== client) await this.#prepare(client);
    const held = await fence(client, plan, this.#epoch);
    if (!held || held.mode === 'STOPPED') {
      await client.query('rollback');
      return held ? 'stopped' : 'taken over';
    }
    checkStamp(this.#options.stamp, held, plan);
    await failpoint('lane.fenced');
    let refreshed: Refreshed = { taken: 0, refreshed: 0, admitted: 0, lags: [] };
    let copied = 0;
    let moved = 0;
    const bounds = this.#bounds;
    if (held.mode === 'UNIQUE') {
      if (lane === 0 && held.logged) refreshed = await refreshUnique(client, plan, refreshRows);
    } else if (!bounds) {
      // nothing to do
    } else if (held.mode === 'SHADOWING') {
      const room = { migrationId: plan.migrationId, lane, pi0: held.pi0, newRoom: held.newRoom };
      if (held.logged) refreshed = await refreshMembers(client, plan, bounds, refreshRows, room);
      await failpoint('lane.members-refreshed');
      if (held.leaving) {
        moved += (await evictLeaving(client, plan, bounds, admitRows)).evicted;
        await failpoint('lane.evicted');
      }
      if (held.wanted) {
        const admitted = await admitWanted(client, plan, bounds, admitRows);
        moved += admitted.admitted + admitted.gone;
        await failpoint('lane.admitted');
      }
    } else if (held.mode === 'IN_PROGRESS') {
      if (held.logged) refreshed = await refreshAll(client, plan, bounds, refreshRows);
      await failpoint('lane.refreshed');
      if (held.next) copied = await this.#chunk(client, held.next);
    }
    await failpoint('lane.before-commit');
    await client.query('commit');
    await failpoint('lane.committed');
    const work: LaneWork = { lane, mode: held.mode, refreshed, copied, moved };
    this.#options.onWork(work);
    return work;
  }

  async #chunk(client: Client, range: KeyRange): Promise<number> {
    const { plan, clock, pace } = this.#options;
    if (clock.now() < this.#nextChunkAt) return 0;
    const chunkRows = this.#chunkRows;
    const began = clock.now();
    const { passed } = await copyChunk(client, plan, range, chunkRows);
    this.#fit((clock.now() - began) * 1000);
    await failpoint('lane.chunk-copied');
    this.#nextChunkAt = clock.now() + pace(passed) / 1000;
    return passed;
  }

  /** Fewer rows in the next chunk after one that took too long; more after a quick one. */
  #fit(ms: number): void {
    const most = this.#options.chunkRows;
    if (ms > longestChunk)
      this.#chunkRows = Math.max(
        Math.min(most, fewestChunkRows),
        Math.floor((this.#chunkRows * longestChunk) / ms),
      );
    else if (ms < longestChunk / 2) this.#chunkRows = Math.min(most, this.#chunkRows * 2);
  }

  get #session(): Client {
    if (!this.#client) throw new Error('lane is not connected');
    return this.#client;
  }

  async #connect(): Promise<void> {
    const client = await this.#options.connect();
    this.#client = client;
    this.#pids.push((client as unknown as { processID: number }).processID);
    // A stopped process must not hold its lane row: the server ends the transaction after 2 s. Small batches by key
    // want nested loops, whatever the statistics of a table that was empty a minute ago say. What T holds between two
    // keys is hashed (see copyChunk); planned without knowing them, it is taken for half a per cent of T.
    await client.query(
      // Asynchronous commits are safe here: a crash undoes T's rows together with the consumption of their log rows, and
      // the swap's own commit, which is synchronous, makes all earlier ones durable.
      `set synchronous_commit = off; set idle_in_transaction_session_timeout = 2000; set statement_timeout = 30000; set lock_timeout = 2000;
       set enable_hashjoin = off; set enable_mergejoin = off; set work_mem = '64MB'; ${markAsLaneSql}`,
    );
  }

  async #prepare(client: Client): Promise<void> {
    try {
      await prepareFence(client, this.#options.plan, this.#options.lane);
      this.#prepared = client;
    } catch (error) {
      await this.#drop(); // it may know one half of it
      throw error;
    }
  }

  /** After a lost connection: the lane is still ours if its epoch is. */
  async #reclaim(): Promise<void> {
    const { plan, lane } = this.#options;
    this.#pids = this.#pids.slice(-3);
    await this.#connect();
    let mine = await takeLane(this.#session, plan, lane, this.#epoch);
    if (!mine) {
      // Moved by somebody else, or by ourselves, when the answer to our COMMIT was lost with its connection.
      const { epoch, pid } = await laneHolder(this.#session, plan, lane);
      if (this.#pids.includes(pid)) mine = await takeLane(this.#session, plan, lane, epoch);
    }
    if (!mine) throw new TakenOver();
    await failpoint('lane.reclaimed');
    this.#epoch = mine;
  }

  async #rollback(): Promise<boolean> {
    return (
      (await this.#client?.query('rollback').then(
        () => true,
        () => false,
      )) ?? false
    );
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => undefined);
  }

  async close(): Promise<void> {
    await this.#drop();
  }
}

class TakenOver extends Error {}

function checkStamp(expected: LaneStamp, held: LaneStamp, plan: TablePlan): void {
  if (held.capture !== expected.capture) {
    throw new ForeshadowError(
      'CAPTURE_BROKEN',
      `the capture trigger on ${plan.names.source} was disabled, dropped or replaced`,
    );
  }
  for (const [role, table] of [
    ['source', plan.names.source],
    ['target', plan.names.target],
  ] as const) {
    if (held[role] !== expected[role]) {
      throw new ForeshadowError('SCHEMA_CHANGED', `${role} ${table} was altered during the migration`, {
        role,
      });
    }
  }
}

/** Data that f or the target refuses is named as such; anything else stays what it is. */
function describe(error: unknown, plan: TablePlan): unknown {
  const code = codeOf(error);
  if (
    code === sqlstate.undefinedTable ||
    code === sqlstate.undefinedColumn ||
    code === sqlstate.undefinedFunction
  ) {
    const message = `${plan.names.source} or ${plan.names.target} was altered during the migration: ${(error as Error).message}`;
    return new ForeshadowError('SCHEMA_CHANGED', message, {}, { cause: error });
  }
  if (
    error instanceof ForeshadowError ||
    (!code?.startsWith('22') && !code?.startsWith('23') && code !== 'P0001' && code !== '21000')
  )
    return error;
  // PostgreSQL's details quote whole rows and values; only that of a unique violation names nothing but a key.
  const detail = code === sqlstate.uniqueViolation ? (error as { detail?: string }).detail : undefined;
  const message = `the row map of ${plan.names.source} fails: ${(error as Error).message}${detail ? ` (${detail})` : ''}`;
  return new ForeshadowError('MAP_FAILS', message, { sqlstate: code }, { cause: error });
}
