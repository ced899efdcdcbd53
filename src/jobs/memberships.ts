import type { Context } from '../context.ts';
import type { KeyId } from '../core/key.ts';
import type { Stratum } from '../core/states.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import type { Migration } from '../migration/status.store.ts';
import { membersAmong, moreMembersThan, storedMembers } from '../shadow/members.queries.ts';

/** Reading all members takes at most this share of the time. */
const mostShare = 0.05;
const leastAge = 1;
/** A larger shadow is not read whole: the keys of each request are looked up. */
const mostMembers = 1_000_000;
/** What nobody asked about for so long is forgotten, in seconds. */
const keptFor = 600;

export interface MemberLookup {
  /** members that are in the target, with the reason for which they are in the shadow */
  readonly strata: ReadonlyMap<KeyId, Stratum>;
  /** when they were read, seconds since the epoch */
  readonly asOf: number;
}

const tooLarge: MemberLookup = { strata: new Map(), asOf: Number.NaN };

/** Who is in the shadow, read anew every second, or more rarely where it is so large that reading takes long. */
export class Memberships {
  readonly #ctx: Context;
  readonly #known = new Map<number, { lookup: MemberLookup; until: number }>();
  readonly #reading = new Map<number, Promise<MemberLookup | null>>();

  constructor(ctx: Context) {
    this.#ctx = ctx;
  }

  /** @returns null while a migration has no shadow, or has it no longer */
  async of(migration: Migration, ids: readonly KeyId[]): Promise<MemberLookup | null> {
    if (!migration.physical || migration.write_to === 'target') return null;
    const known = this.#known.get(migration.id);
    if (known && known.lookup !== tooLarge && this.#ctx.clock.now() < known.until) return known.lookup;
    this.#prune();
    if (known?.lookup === tooLarge) return this.#lookUp(migration, ids);
    let reading = this.#reading.get(migration.id);
    if (!reading) {
      reading = this.#read(migration).finally(() => this.#reading.delete(migration.id));
      this.#reading.set(migration.id, reading);
    }
    // what is known already serves until the new one is there
    const lookup = known?.lookup ?? (await reading);
    return lookup === tooLarge ? this.#lookUp(migration, ids) : lookup;
  }

  async #lookUp(migration: Migration, ids: readonly KeyId[]): Promise<MemberLookup> {
    const asOf = this.#ctx.clock.now();
    return { strata: await membersAmong(this.#ctx.pool, migration.plan, ids, ['present']), asOf };
  }

  #prune(): void {
    const now = this.#ctx.clock.now();
    for (const [id, { until }] of this.#known) if (now > until + keptFor) this.#known.delete(id);
  }

  async #read(migration: Migration): Promise<MemberLookup | null> {
    const asOf = this.#ctx.clock.now();
    try {
      if (await moreMembersThan(this.#ctx.pool, migration.plan, mostMembers)) {
        this.#known.set(migration.id, { lookup: tooLarge, until: asOf + keptFor });
        return tooLarge;
      }
      const stored = await storedMembers(this.#ctx.pool, migration.plan, 'all');
      const strata = new Map<KeyId, Stratum>();
      for (const { id, state, stratum } of stored) if (state === 'present') strata.set(id, stratum);
      const lookup = { strata, asOf };
      const took = this.#ctx.clock.now() - asOf;
      this.#known.set(migration.id, { lookup, until: asOf + Math.max(leastAge, took / mostShare) });
      return lookup;
    } catch (error) {
      if (codeOf(error) === sqlstate.undefinedTable) return null; // the migration ended meanwhile
      throw error;
    }
  }
}
