import type { Pool } from 'pg';
import { createKeyHasher, type KeyHasher, withKeys } from '../access/key-hash.ts';
import { keysOfSource } from '../access/key-scan.queries.ts';
import type { Context } from '../context.ts';
import type { Access } from '../core/access.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { KeyId } from '../core/key.ts';
import type { Migration } from '../migration/status.store.ts';

/** Seconds between two passes over the table for keys behind hashes, at least; and so many times what one took. */
const passEvery = 30;
const passShare = 20;
const mostNames = 10_000_000;

/**
 * With `queryLog.hashKeys`, the access store holds keyed hashes in place of keys. Features, scores and the sampler work
 * with keys as ever: what a hash stands for is known in memory, from what this process has hashed itself, or from a
 * pass over the table's keys. A hash that no row of the table has is of no use to anybody and is left out.
 */
export class HashedKeys {
  readonly #hash: KeyHasher;
  readonly #pool: Pool;
  readonly #migration: Pick<Migration, 'plan'>;
  readonly #names = new Map<string, KeyId>();
  #nextPass = Number.NEGATIVE_INFINITY;
  #passing: Promise<void> | null = null;
  readonly #now: () => number;

  constructor(
    ctx: Pick<Context, 'pool' | 'clock'>,
    secret: string,
    migration: Pick<Migration, 'name' | 'plan'>,
  ) {
    this.#pool = ctx.pool;
    this.#now = ctx.clock.now;
    this.#migration = migration;
    this.#hash = createKeyHasher(secret, migration.name);
  }

  /** For the store. */
  hashed(accesses: readonly Access[]): Access[] {
    return withKeys(accesses, (key) => {
      const hash = this.#hash(key);
      this.#remember(hash, key);
      return hash;
    });
  }

  /**
   * From the store, in its order. What cannot be told yet goes into `waiting`, to be asked for again.
   * @param now look over the table for unknown ones, however short ago that was done
   */
  async revealed(stored: readonly Access[], waiting: Access[], now = false): Promise<Access[]> {
    const of = (hash: string) => this.#names.get(hash);
    const unknown = new Set<string>();
    for (const { key } of stored) if (!this.#names.has(key)) unknown.add(key);
    const due = unknown.size > 0 && (now || this.#now() >= this.#nextPass);
    if (due) await this.#pass(unknown);
    // what a pass has not found, no row has any more
    return withKeys(stored, of, due ? [] : waiting);
  }

  async #pass(wanted: ReadonlySet<string>): Promise<void> {
    // one pass at a time: it is a scan of the table
    while (this.#passing) await this.#passing;
    this.#passing = this.#lookFor(wanted).finally(() => {
      this.#passing = null;
    });
    await this.#passing;
  }

  async #lookFor(wanted: ReadonlySet<string>): Promise<void> {
    const began = this.#now();
    let open = wanted.size;
    for await (const keys of keysOfSource(this.#pool, this.#migration.plan)) {
      for (const key of keys) {
        const hash = this.#hash(key);
        if (!wanted.has(hash) || this.#names.has(hash)) continue;
        this.#remember(hash, key);
        open--;
      }
      if (open <= 0) break;
    }
    const took = this.#now() - began;
    this.#nextPass = this.#now() + Math.max(passEvery, passShare * took);
  }

  #remember(hash: string, key: KeyId): void {
    if (this.#names.size >= mostNames) this.#names.clear();
    // a longer piece of text would keep the log that it was cut from alive
    this.#names.set(hash, key.length > 12 ? Buffer.from(key).toString() : key);
  }
}

/** Those of this process, so that what one part has hashed, another need not look for. */
const known = new WeakMap<Pool, Map<number, HashedKeys>>();

/**
 * @returns null for a migration that stores its keys as they are
 * @throws ForeshadowError BAD_CONFIG when there is no secret
 */
export function hashedKeysOf(
  ctx: Context,
  migration: Pick<Migration, 'id' | 'name' | 'plan' | 'definition'>,
): HashedKeys | null {
  if (!migration.definition.queryLog?.hashKeys) return null;
  const secret = requireKeySecret(ctx);
  const ofPool = known.get(ctx.pool) ?? new Map<number, HashedKeys>();
  known.set(ctx.pool, ofPool);
  let keys = ofPool.get(migration.id);
  if (!keys) ofPool.set(migration.id, (keys = new HashedKeys(ctx, secret, migration)));
  return keys;
}

/** @throws ForeshadowError BAD_CONFIG */
export function requireKeySecret({ config }: Pick<Context, 'config'>): string {
  if (config.keySecret !== undefined) return config.keySecret;
  throw new ForeshadowError(
    'BAD_CONFIG',
    'queryLog.hashKeys needs a secret that is not in the database: set FORESHADOW_KEY_SECRET, the same for every process',
  );
}
