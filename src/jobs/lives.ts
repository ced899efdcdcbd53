import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import { findMigration, type Migration } from '../migration/status.store.ts';
import { Live } from '../pipeline/live.ts';

/** A migration's row may be this old for scoring, in seconds. */
const rowAge = 1;
/** Live features are caught up with this often while somebody asks for scores, in seconds. */
const followEvery = 0.2;
/** Nobody has asked for this long, in seconds: the memory is given back. */
const idleFor = 600;

interface Entry {
  readonly live: Live;
  migration: Migration;
  readAt: number;
  followedAt: number;
  following: Promise<unknown> | null;
  usedAt: number;
}

/** What this process holds in memory, one {@link Live} a migration, shared by jobs and scores. */
export class Lives {
  readonly #ctx: Context;
  readonly #entries = new Map<string, Entry>();

  constructor(ctx: Context) {
    this.#ctx = ctx;
  }

  of(migration: Migration): Live {
    return this.#entry(migration).live;
  }

  /**
   * A migration and its live features, caught up to within a fraction of a second.
   * @throws ForeshadowError MIGRATION_UNKNOWN
   */
  async fresh(name: string): Promise<{ live: Live; migration: Migration }> {
    const now = this.#ctx.clock.now();
    let entry = this.#entries.get(name);
    if (!entry || now - entry.readAt > rowAge) {
      const migration = await findMigration(this.#ctx.pool, name);
      if (!migration) throw new ForeshadowError('MIGRATION_UNKNOWN', `there is no migration called ${name}`);
      entry = this.#entry(migration);
      entry.migration = migration;
      entry.readAt = now;
    }
    entry.usedAt = now;
    if (now - entry.followedAt > followEvery) {
      const following = entry;
      entry.following ??= entry.live.follow(entry.migration).finally(() => {
        following.followedAt = this.#ctx.clock.now();
        following.following = null;
      });
      await entry.following;
    }
    return { live: entry.live, migration: entry.migration };
  }

  /** Gives back the memory of migrations that nobody has asked about for a while. */
  sweep(): void {
    const now = this.#ctx.clock.now();
    for (const [name, { live, usedAt, following }] of this.#entries) {
      if (following || now - usedAt < idleFor) continue;
      live.dispose();
      this.#entries.delete(name);
    }
  }

  dispose(): void {
    for (const { live } of this.#entries.values()) live.dispose();
    this.#entries.clear();
  }

  #entry(migration: Migration): Entry {
    const now = this.#ctx.clock.now();
    const known = this.#entries.get(migration.name);
    // after uninstalling, a name may come back as another migration
    if (known && known.migration.id === migration.id) {
      known.usedAt = now;
      return known;
    }
    known?.live.dispose();
    const entry: Entry = {
      live: new Live(this.#ctx),
      migration,
      readAt: now,
      followedAt: Number.NEGATIVE_INFINITY,
      following: null,
      usedAt: now,
    };
    this.#entries.set(migration.name, entry);
    return entry;
  }
}
