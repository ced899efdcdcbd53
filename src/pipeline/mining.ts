import { changeTimes } from '../access/change-times.queries.ts';
import { type AccessMiner, createAccessMiner, createAccessResolver } from '../access/index.ts';
import {
  appendAccesses,
  createStore,
  forgetAccesses,
  type MiningState,
  miningState,
  storeMined,
  touchMined,
} from '../access/store.queries.ts';
import { seconds } from '../config/duration.ts';
import type { Context } from '../context.ts';
import { parseQualifiedName } from '../db/ident.ts';
import { LogFollower, requireReadableLog } from '../logs/index.ts';
import type { Migration } from '../migration/status.store.ts';

/** Accesses kept for training; the oldest go first. */
export const keptAccesses = 4_000_000;
const bytesAtOnce = 2 << 20;
/** A statement that fails later than this after its line was seen counts as executed: longer, and scores show the past. */
const holdSeconds = 0.3;
/** The place is stored with every access, and without any at most this often. */
const idleStoreEvery = 2;
/** While the log stands still, it is said this often that its end is reached: the gate asks, in seconds. */
const idleSayEvery = 5;
/** The longest half-life of the change counters; older changes count for nothing. */
const changeTimesHorizons = 128;
const changeTimesAtOnce = 50_000;

/**
 * Query log → accesses → access store, each exactly once: what was found and the place in the log behind it are stored
 * in one transaction. Any process may go on where another one stopped; of two at once, one finds that it was too late
 * and starts again from the stored place.
 */
export class Mining {
  readonly #ctx: Context;
  readonly #migration: Migration;
  readonly #miner: AccessMiner | null;
  #follower: LogFollower | null = null;
  #state: MiningState | null = null;
  #storedAt = 0;

  private constructor(ctx: Context, migration: Migration, miner: AccessMiner | null) {
    this.#ctx = ctx;
    this.#migration = migration;
    this.#miner = miner;
  }

  /** @throws ForeshadowError LOG_UNREADABLE, by name */
  static async open(ctx: Context, migration: Migration): Promise<Mining> {
    const { definition, plan } = migration;
    await createStore(ctx.pool, migration.id);
    if (!definition.queryLog) return new Mining(ctx, migration, null);
    await requireReadableLog(definition.queryLog.path, definition.queryLog);
    const { schema, name } = parseQualifiedName(definition.source);
    const resolver = await createAccessResolver({
      schema,
      table: name,
      key: plan.sourceKey,
      columns: plan.sourceColumns.map((column) => column.name),
    });
    const database = await ctx.pool.query<{ name: string }>('select current_database() as name');
    return new Mining(
      ctx,
      migration,
      createAccessMiner(resolver, { database: database.rows[0]?.name ?? '' }),
    );
  }

  /** One step. @returns how many accesses it gave, and how many bytes of the log still lie ahead */
  async step(): Promise<{ taken: number; behind: number }> {
    try {
      return await this.#step();
    } catch (error) {
      this.#state = null; // what was read and not stored is read again, from the stored place
      throw error;
    }
  }

  async #step(): Promise<{ taken: number; behind: number }> {
    let state = await this.#resume();
    if (!state.signalsTaken && (!this.#follower || state.caughtUp)) {
      await this.#takeSignals();
      this.#state = state = { ...state, signalsTaken: true };
    }
    if (!this.#follower || !this.#miner) return { taken: 0, behind: 0 };
    const before = this.#follower.counters.bytes;
    const accesses = this.#miner.take(await this.#follower.poll());
    const { behind } = this.#follower;
    const now = this.#ctx.clock.now();
    const moved = this.#follower.counters.bytes > before || behind !== state.behindBytes;
    const worthStoring = accesses.length > 0 || (moved && now - this.#storedAt > idleStoreEvery);
    if (!worthStoring && state.caughtUp) {
      if (behind === 0 && !moved && now - this.#storedAt > idleSayEvery) {
        await touchMined(this.#ctx.pool, this.#migration.id, state.version);
        this.#storedAt = now;
      }
      return { taken: 0, behind };
    }
    const { unresolvedShapes, ...counts } = this.#miner.statistics();
    const step = {
      place: this.#follower.place(),
      behindBytes: behind,
      statistics: { ...counts, unresolved_shapes: unresolvedShapes.slice(0, 20) },
      accesses,
    };
    const stored = await storeMined(this.#ctx.pool, this.#migration.id, state.version, step);
    if (!stored) {
      this.#state = null; // somebody was faster; what this step read is in its batch, or will be read again
      return { taken: 0, behind: Math.max(1, behind) };
    }
    this.#storedAt = now;
    this.#state = {
      ...state,
      version: state.version + 1,
      behindBytes: behind,
      caughtUp: state.caughtUp || behind === 0,
    };
    return { taken: accesses.length, behind };
  }

  /** Forgets the oldest accesses beyond what training uses. */
  async forget(): Promise<void> {
    await forgetAccesses(this.#ctx.pool, this.#migration.id, keptAccesses);
  }

  async #resume(): Promise<MiningState> {
    if (this.#state) return this.#state;
    const state = await miningState(this.#ctx.pool, this.#migration.id);
    if (!state) throw new Error(`the access store of migration ${this.#migration.name} is gone`);
    const { queryLog } = this.#migration.definition;
    if (queryLog)
      this.#follower = new LogFollower(queryLog.path, {
        format: queryLog.format,
        linePrefix: queryLog.linePrefix,
        from: 'start',
        clock: this.#ctx.clock,
        maxBytesPerPoll: bytesAtOnce,
        holdSeconds,
        place: state.place,
      });
    this.#state = state;
    return state;
  }

  /** What the rows say of themselves (`signals`), for the time before anything else was seen. */
  async #takeSignals(): Promise<void> {
    const { pool, clock } = this.#ctx;
    const { definition, plan, id } = this.#migration;
    const { signals, predict } = definition;
    const columns = [signals.createdAt, signals.updatedAt].filter((name) => name !== undefined);
    if (!columns.length) return;
    const { rows } = await pool.query<{ at: number | null }>(
      "select min(first_at) as at from foreshadow.access_batch where migration_id = $1 and source = 'log'",
      [id],
    );
    const until = rows[0]?.at ?? clock.now();
    const since = until - changeTimesHorizons * seconds(predict.horizon);
    const changes = await changeTimes(pool, plan, columns, since, until, changeTimesAtOnce);
    await appendAccesses(pool, id, 'signals', changes);
  }
}
