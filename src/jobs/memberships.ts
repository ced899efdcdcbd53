import type { Context } from '../context.ts';
import type { KeyId } from '../core/key.ts';
import type { Stratum } from '../core/states.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import type { Migration } from '../migration/status.store.ts';
import { storedMembers } from '../shadow/wanted.queries.ts';

/** Reading all members takes at most this share of the time. */
const mostShare = 0.05;
const leastAge = 1;

export interface MemberLookup {
  /** members that are in the target, with the reason for which they are in the shadow */
  readonly strata: ReadonlyMap<KeyId, Stratum>;
  /** when they were read, seconds since the epoch */
  readonly asOf: number;
}

/** Who is in the shadow, read anew every second, or more rarely where it is so large that reading takes long. */
export class Memberships {
  readonly #ctx: Context;
  readonly #known = new Map<number, { lookup: MemberLookup; until: number }>();
  readonly #reading = new Map<number, Promise<MemberLookup | null>>();

  constructor(ctx: Context) {
    this.#ctx = ctx;
  }

  /** @returns null while a migration has no shadow, or has it no longer */
  async of(migration: Migration): Promise<MemberLookup | null> {
    if (!migration.physical || migration.write_to === 'target') return null;
    const known = this.#known.get(migration.id);
    if (known && this.#ctx.clock.now() < known.until) return known.lookup;
    let reading = this.#reading.get(migration.id);
    if (!reading) {
      reading = this.#read(migration).finally(() => this.#reading.delete(migration.id));
      this.#reading.set(migration.id, reading);
    }
    // what is known already serves until the new one is there
    return known?.lookup ?? reading;
  }

  async #read(migration: Migration): Promise<MemberLookup | null> {
    const asOf = this.#ctx.clock.now();
    try {
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
