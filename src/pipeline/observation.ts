import { changeTimes } from '../access/change-times.queries.ts';
import { type AccessMiner, createAccessMiner, createAccessResolver } from '../access/index.ts';
import { seconds } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import { parseQualifiedName } from '../db/ident.ts';
import { FeatureEngine } from '../features/engine.ts';
import { featureSpec } from '../features/spec.ts';
import { LogFollower, readLog } from '../logs/index.ts';
import type { Migration } from '../migration/status.store.ts';
import { type ChangeEvent, changesSince } from '../shadow/wanted.queries.ts';

/** Accesses kept for training; the oldest half goes when it is reached. */
const keptAccesses = 4_000_000;
/** Lanes append captured changes late and in no order, so each look begins this many seconds before the last. */
const overlapSeconds = 10;
const changesAtOnce = 50_000;
/** The longest half-life of the change counters; older changes count for nothing. */
const changeTimesHorizons = 128;

/**
 * What is known about the application's use of the source: the query log, mined and followed, and captured changes.
 * One feature engine takes them all in, for training and for serving.
 */
export class Observation {
  readonly accesses: Access[] = [];
  engine: FeatureEngine;
  /** rows inserted, and rows deleted, as capture saw them */
  readonly inserted = new Map<KeyId, number>();
  readonly deleted = new Set<KeyId>();
  readonly #ctx: Context;
  readonly #migration: Migration;
  readonly #miner: AccessMiner | null;
  readonly #follower: LogFollower | null;
  #seenChanges = new Map<string, number>();
  #changesFrom = 0;

  private constructor(
    ctx: Context,
    migration: Migration,
    miner: AccessMiner | null,
    follower: LogFollower | null,
  ) {
    this.#ctx = ctx;
    this.#migration = migration;
    this.#miner = miner;
    this.#follower = follower;
    this.engine = new FeatureEngine(featureSpec(seconds(migration.definition.predict.horizon)));
  }

  /** Reads the whole query log once; {@link Observation.poll} goes on from there. */
  static async open(ctx: Context, migration: Migration): Promise<Observation> {
    const path = migration.definition.queryLog?.path;
    if (!path) {
      const unlogged = new Observation(ctx, migration, null, null);
      await unlogged.#readChangeTimes();
      return unlogged;
    }
    const { plan } = migration;
    const { schema, name } = parseQualifiedName(migration.definition.source);
    const resolver = await createAccessResolver({
      schema,
      table: name,
      key: plan.sourceKey,
      columns: plan.sourceColumns.map((column) => column.name),
    });
    const database = await ctx.pool.query<{ name: string }>('select current_database() as name');
    const miner = createAccessMiner(resolver, { database: database.rows[0]?.name ?? '' });
    const follower = new LogFollower(path, { from: 'start', clock: ctx.clock, maxBytesPerPoll: 2 << 20 });
    const observation = new Observation(ctx, migration, miner, follower);
    // Fail now, by name, if the log cannot be read at all; the follower below reads the same bytes.
    for await (const _ of readLog(path, { chunkBytes: 1 << 16 })) break;
    while ((await observation.#followLog()) > 0);
    await observation.#readChangeTimes();
    return observation;
  }

  /** What the rows say of themselves (`signals`), for the time before anything else was seen. */
  async #readChangeTimes(): Promise<void> {
    const { signals, predict } = this.#migration.definition;
    const columns = [signals.createdAt, signals.updatedAt].filter((name) => name !== undefined);
    if (!columns.length) return;
    const until = this.accesses[0]?.at ?? this.#ctx.clock.now();
    const since = until - changeTimesHorizons * seconds(predict.horizon);
    const { pool } = this.#ctx;
    const changes = await changeTimes(pool, this.#migration.plan, columns, since, until, changesAtOnce);
    if (!changes.length) return;
    // The engine takes accesses in time order, so it starts over with these first.
    this.accesses.unshift(...changes);
    this.engine = new FeatureEngine(this.engine.spec);
    this.engine.observeAll(this.accesses);
  }

  get hasLog(): boolean {
    return this.#miner !== null;
  }

  statistics() {
    return this.#miner?.statistics() ?? null;
  }

  /** Takes in what has happened since the last call. @returns the new accesses, in time order */
  async poll(): Promise<Access[]> {
    const before = this.accesses.length;
    while ((await this.#followLog()) >= changesAtOnce);
    const mined = this.accesses.slice(before);
    if (this.#migration.physical) mined.push(...(await this.#followChanges()));
    if (this.accesses.length > keptAccesses) this.accesses.splice(0, keptAccesses / 2);
    return mined.sort((a, b) => a.at - b.at);
  }

  async #followLog(): Promise<number> {
    if (!this.#follower || !this.#miner) return 0;
    const bytesBefore = this.#follower.counters.bytes;
    const accesses = this.#miner.take(await this.#follower.poll());
    this.#take(accesses);
    return this.#follower.counters.bytes - bytesBefore;
  }

  #take(accesses: readonly Access[]): void {
    for (const access of accesses) {
      this.accesses.push(access);
      this.engine.observe(access);
    }
  }

  /** Without a log, captured changes are all the evidence; with one, they add the rows whose keys the server made. */
  async #followChanges(): Promise<Access[]> {
    const events = await changesSince(this.#ctx.pool, this.#migration.plan, this.#changesFrom, changesAtOnce);
    const added: Access[] = [];
    for (const event of events) {
      const name = `${event.op}${event.at}${event.id}`;
      if (this.#seenChanges.has(name)) continue;
      this.#seenChanges.set(name, event.at);
      this.#note(event);
      const unseen = event.op === 'I' && this.engine.slotOf(event.id) === undefined;
      if (this.#miner === null || unseen) added.push({ key: event.id, op: 'W', at: event.at });
    }
    this.#take(added);
    const last = events.at(-1)?.at;
    if (last !== undefined) {
      this.#changesFrom = events.length === changesAtOnce ? last : last - overlapSeconds;
      for (const [name, at] of this.#seenChanges) if (at < this.#changesFrom) this.#seenChanges.delete(name);
    }
    return added;
  }

  #note({ op, id, at }: ChangeEvent): void {
    if (op === 'D') this.deleted.add(id);
    else this.deleted.delete(id);
    if (op === 'I') this.inserted.set(id, at);
    else if (op === 'D') this.inserted.delete(id);
  }
}
