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
import { firstChunkRows, mostChunkRows, nextChunkRows, type Pace, restAfter } from './pacing.ts';
import { type Refreshed, refreshAll, refreshMembers } from './refresh.queries.ts';
import { refreshUnique } from './unique.queries.ts';

/** Rows a lane statement handles at once: tens of milliseconds, so that a cutover never waits long for a lane. */
const refreshRows = 1000;
const admitRows = 500;
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
  /** the pace that it kept to */
  readonly pace: Pace;
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
  /** the throttle: asked at the beginning of each transaction, so a change acts within one */
  readonly pace: () => Pace;
  /** lanes that share the limit of rows a second */
  readonly lanes: number;
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
  /** what it copied last, or admitted: the pause after it is told by the pace of the moment */
  #last = { at: 0, rows: 0, ms: 0 };
  #chunkRows: number;
  #admitRows: number;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.#chunkRows = Math.min(firstChunkRows, options.chunkRows);
    this.#admitRows = Math.min(firstChunkRows, admitRows);
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
        const rest = this.#restMs(work.pace);
        const copying = work.copied > 0 || work.moved > 0;
        if (work.refreshed.taken >= refreshRows || (copying && rest === 0)) continue; // more to do: no pause
        if (rest > 0) wait = Math.min(wait, Math.max(1, rest));
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
    const pace = this.#options.pace();
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
      if (held.wanted && this.#restMs(pace) === 0) {
        moved += await this.#admit(client, bounds, pace);
        await failpoint('lane.admitted');
      }
    } else if (held.mode === 'IN_PROGRESS') {
      if (held.logged) refreshed = await refreshAll(client, plan, bounds, refreshRows);
      await failpoint('lane.refreshed');
      if (held.next && this.#restMs(pace) === 0) copied = await this.#chunk(client, held.next, pace);
    }
    await failpoint('lane.before-commit');
    await client.query('commit');
    await failpoint('lane.committed');
    const work: LaneWork = { lane, mode: held.mode, refreshed, copied, moved, pace };
    this.#options.onWork(work);
    return work;
  }

  async #chunk(client: Client, range: KeyRange, pace: Pace): Promise<number> {
    const { plan, lanes, clock } = this.#options;
    const most = this.#options.chunkRows;
    const chunkRows = Math.min(this.#chunkRows, mostChunkRows(pace, lanes, most));
    const began = clock.now();
    const { passed } = await copyChunk(client, plan, range, chunkRows);
    const ms = this.#note(passed, began);
    // the last chunk of a range may be short, and says little about a whole one
    if (passed >= chunkRows || ms > pace.chunkMs)
      this.#chunkRows = nextChunkRows(chunkRows, ms, pace, lanes, most);
    await failpoint('lane.chunk-copied');
    return passed;
  }

  async #admit(client: Client, bounds: KeyBounds, pace: Pace): Promise<number> {
    const { plan, lanes, clock } = this.#options;
    const rows = Math.min(this.#admitRows, mostChunkRows(pace, lanes, admitRows));
    const began = clock.now();
    const { admitted, gone } = await admitWanted(client, plan, bounds, rows);
    const ms = this.#note(admitted + gone, began);
    if (admitted + gone >= rows || ms > pace.chunkMs)
      this.#admitRows = nextChunkRows(rows, ms, pace, lanes, admitRows);
    return admitted + gone;
  }

  /** What was copied just now, for the pause after it. @returns ms that it took */
  #note(rows: number, began: number): number {
    const at = this.#options.clock.now();
    this.#last = { at, rows, ms: Math.max(0, (at - began) * 1000) };
    return this.#last.ms;
  }

  /** ms until the pace allows the next chunk. A pace that is changed meanwhile counts at once. */
  #restMs(pace: Pace): number {
    const { clock, lanes } = this.#options;
    if (pace.share <= 0) return Number.POSITIVE_INFINITY;
    const { at, rows, ms } = this.#last;
    return Math.max(0, restAfter(pace, lanes, rows, ms) - (clock.now() - at) * 1000);
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
