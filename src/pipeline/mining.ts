import { type AccessMiner, createAccessMiner, createAccessResolver } from '../access/index.ts';
import { logSettings } from '../access/log-settings.queries.ts';
import {
  createStore,
  forgetAccesses,
  type MiningState,
  miningState,
  storeMined,
  touchMined,
} from '../access/store.queries.ts';
import type { Context } from '../context.ts';
import { type EventOptions, LogFollower, logOptionsOf, requireReadableLog } from '../logs/index.ts';
import type { Migration } from '../migration/status.store.ts';
import { ChangeSignals } from './change-signals.ts';
import { hashedKeysOf } from './hashed-keys.ts';
import { targetOfMigration } from './log-target.ts';
import { Lookups } from './lookups.ts';

/** Accesses kept for training; the oldest go first. */
export const keptAccesses = 4_000_000;
const bytesAtOnce = 2 << 20;
/** A statement that fails later than this after its line was seen counts as executed: longer, and scores show the past. */
export const holdSeconds = 0.3;
/** The place is stored with every access, and without any at most this often. */
const idleStoreEvery = 2;
/** While the log stands still, it is said this often that its end is reached: the gate asks, in seconds. */
const idleSayEvery = 5;
/**
 * Query log → accesses → access store, each exactly once: what was found and the place in the log behind it are stored
 * in one transaction. Any process may go on where another one stopped; of two at once, one finds that it was too late
 * and starts again from the stored place.
 */
export class Mining {
  readonly #signals: ChangeSignals;
  readonly #ctx: Context;
  readonly #migration: Migration;
  readonly #miner: AccessMiner | null;
  readonly #lookups: Lookups | null;
  /** what the server's settings say of its log */
  readonly #server: EventOptions;
  #follower: LogFollower | null = null;
  #state: MiningState | null = null;
  #storedAt = 0;

  private constructor(
    ctx: Context,
    migration: Migration,
    miner: AccessMiner | null,
    lookups: Lookups | null = null,
    server: EventOptions = {},
  ) {
    this.#server = server;
    this.#lookups = lookups;
    this.#signals = new ChangeSignals(ctx, migration);
    this.#ctx = ctx;
    this.#migration = migration;
    this.#miner = miner;
  }

  /** @throws ForeshadowError LOG_UNREADABLE, by name */
  static async open(ctx: Context, migration: Migration): Promise<Mining> {
    const { definition } = migration;
    hashedKeysOf(ctx, migration); // a secret that is missing is missed before anything is read
    await createStore(ctx.pool, migration.id);
    if (!definition.queryLog) return new Mining(ctx, migration, null);
    await requireReadableLog(definition.queryLog.path, definition.queryLog);
    const lookups = await Lookups.open(ctx, migration);
    const resolver = await createAccessResolver({
      ...(await targetOfMigration(ctx.pool, migration)),
      lookups: lookups.columns,
    });
    const database = await ctx.pool.query<{ name: string }>('select current_database() as name');
    const name = database.rows[0]?.name ?? '';
    const settings = logOptionsOf(await logSettings(ctx.pool));
    return new Mining(ctx, migration, createAccessMiner(resolver, { database: name }), lookups, {
      database: name,
      sampling: settings.sampling,
      parameterMaxLength: settings.parameterMaxLength,
    });
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
    const state = await this.#resume();
    if (!this.#follower || state.caughtUp) await this.#signals.take();
    if (!this.#follower || !this.#miner) return { taken: 0, behind: 0 };
    const before = this.#follower.counters.bytes;
    const accesses = this.#miner.take(await this.#follower.poll());
    const lookedUp = await this.#lookups?.settle(this.#miner);
    if (lookedUp?.length) {
      for (const access of lookedUp) accesses.push(access);
      accesses.sort((a, b) => a.at - b.at);
    }
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
      accesses: hashedKeysOf(this.#ctx, this.#migration)?.hashed(accesses) ?? accesses,
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
        ...this.#server,
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
}
