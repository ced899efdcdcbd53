import { batchesAfter } from '../access/store.queries.ts';
import type { Context } from '../context.ts';
import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import { FeatureEngine } from '../features/engine.ts';
import type { Migration } from '../migration/status.store.ts';
import { type ChangeEvent, changesSince } from '../shadow/wanted.queries.ts';
import { hashedKeysOf } from './hashed-keys.ts';
import { type Announced, announcedTo, groupsOf, specOf } from './world.ts';

/** Lanes append captured changes late and in no order, so each look begins this many seconds before the last. */
const overlapSeconds = 10;
const changesAtOnce = 50_000;
const batchesAtOnce = 100;
const mostWaiting = 200_000;

/**
 * What is known about the application's use of the source, as live features: the access store, followed, and captured
 * changes. One feature engine takes them all in. Any number of processes may each have one; all see the same.
 */
export class Observation {
  readonly engine: FeatureEngine;
  /** rows inserted, and rows deleted, as capture saw them */
  readonly inserted = new Map<KeyId, number>();
  readonly deleted = new Set<KeyId>();
  /** time of the latest access taken in, seconds since the epoch */
  until = Number.NEGATIVE_INFINITY;
  readonly #ctx: Context;
  #seq = 0;
  #seenChanges = new Map<string, number>();
  #changesFrom = 0;
  /** of keys that are known by their hash only, until the next pass over the table */
  #waiting: Access[] = [];
  /** of the keys that are being taken in: the engine asks for each once, at first sight */
  #groups: ReadonlyMap<KeyId, string> = new Map();

  private constructor(ctx: Context, migration: Migration, { events }: Announced) {
    this.#ctx = ctx;
    this.engine = new FeatureEngine(specOf(migration), {
      groupOf: (key) => this.#groups.get(key) ?? null,
      events,
    });
  }

  /** Reads the announced events; a calendar that is changed later counts from the next opening on. */
  static async open(ctx: Context, migration: Migration): Promise<Observation> {
    return new Observation(ctx, migration, await announcedTo(ctx, migration));
  }

  /** Takes in what has happened since the last call. @returns the new accesses, in time order */
  async poll(migration: Migration): Promise<Access[]> {
    const added: Access[] = [];
    for (;;) {
      const { seq, accesses, waiting, more } = await this.#stored(migration);
      await this.#lookUp(
        migration,
        accesses.map(({ key }) => key),
      );
      this.#take(accesses);
      for (const access of accesses) added.push(access);
      this.#seq = seq;
      this.#waiting = waiting;
      if (!more) break;
    }
    this.#groups = new Map();
    if (migration.physical && migration.write_to === 'source')
      for (const access of await this.#followChanges(migration)) added.push(access);
    return added.sort((a, b) => a.at - b.at);
  }

  /** The next accesses; where the store holds hashes of keys, with the keys that they stand for. */
  async #stored(migration: Migration) {
    const batches = await batchesAfter(this.#ctx.pool, migration.id, this.#seq, batchesAtOnce);
    const place = { seq: batches.at(-1)?.seq ?? this.#seq, more: batches.length === batchesAtOnce };
    const accesses = batches.flatMap((batch) => batch.accesses);
    const hashed = hashedKeysOf(this.#ctx, migration);
    const waiting: Access[] = [];
    if (!hashed) return { ...place, accesses, waiting };
    // those that nobody could tell the last time are asked for again
    const revealed = await hashed.revealed([...this.#waiting, ...accesses], waiting);
    return { ...place, accesses: revealed, waiting: waiting.slice(-mostWaiting) };
  }

  /** Groups of rows that were not seen yet; none where the migration names no column for them. */
  groupsOf(migration: Migration, keys: readonly KeyId[]): Promise<ReadonlyMap<KeyId, string>> {
    return groupsOf(this.#ctx, migration, new Set(keys));
  }

  /** Before anything is taken in, so that a query that fails loses nothing. */
  async #lookUp(migration: Migration, keys: readonly KeyId[]): Promise<void> {
    const unknown = new Set(keys.filter((key) => this.engine.slotOf(key) === undefined));
    this.#groups = await groupsOf(this.#ctx, migration, unknown);
  }

  #take(accesses: readonly Access[]): void {
    for (const access of accesses) {
      this.engine.observe(access);
      if (access.at > this.until) this.until = access.at;
    }
  }

  /** Without a log, captured changes are all the evidence; with one, they add the rows whose keys the server made. */
  async #followChanges(migration: Migration): Promise<Access[]> {
    const events = await capturedSince(this.#ctx, migration, this.#changesFrom);
    await this.#lookUp(
      migration,
      events.map(({ id }) => id),
    );
    const added: Access[] = [];
    for (const event of events) {
      const name = `${event.op}${event.at}${event.id}`;
      if (this.#seenChanges.has(name)) continue;
      this.#seenChanges.set(name, event.at);
      this.#note(event);
      const known = this.engine.slotOf(event.id) !== undefined;
      if (countsAsAccess(migration, event, known)) added.push({ key: event.id, op: 'W', at: event.at });
    }
    this.#take(added);
    this.#groups = new Map();
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

/** Everything that was observed so far and is still kept, for training. */
export async function observedSoFar(ctx: Context, migration: Migration): Promise<Access[]> {
  let all: Access[] = [];
  const known = new Set<KeyId>();
  const hashed = hashedKeysOf(ctx, migration);
  for (let seq = 0; ; ) {
    const batches = await batchesAfter(ctx.pool, migration.id, seq, batchesAtOnce);
    for (const batch of batches) {
      for (const access of batch.accesses) all.push(access);
      seq = batch.seq;
    }
    if (batches.length < batchesAtOnce) break;
  }
  if (hashed) all = await hashed.revealed(all, [], true);
  for (const { key } of all) known.add(key);
  if (!migration.physical || migration.write_to === 'target') return all;
  const seen = new Set<string>();
  for (let from = 0; ; ) {
    const events = await capturedSince(ctx, migration, from);
    for (const event of events) {
      const name = `${event.op}${event.at}${event.id}`;
      if (seen.has(name) || !countsAsAccess(migration, event, known.has(event.id))) continue;
      seen.add(name);
      known.add(event.id);
      all.push({ key: event.id, op: 'W', at: event.at });
    }
    const last = events.at(-1)?.at ?? 0;
    if (events.length < changesAtOnce || last === from) break;
    from = last;
  }
  return all;
}

function countsAsAccess(migration: Migration, event: ChangeEvent, known: boolean): boolean {
  return migration.definition.queryLog === undefined || (event.op === 'I' && !known);
}

async function capturedSince(ctx: Context, migration: Migration, from: number): Promise<ChangeEvent[]> {
  try {
    return await changesSince(ctx.pool, migration.plan, from, changesAtOnce);
  } catch (error) {
    if (codeOf(error) === sqlstate.undefinedTable) return []; // the migration ended meanwhile
    throw error;
  }
}
