import { Compile } from 'typebox/compile';
import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import { type KeyId, keyId } from '../core/key.ts';
import type { Migration } from '../migration/status.store.ts';
import type { Live } from '../pipeline/live.ts';
import { scoreKeys } from '../pipeline/scoring.ts';
import type { Lives } from './lives.ts';
import { Memberships } from './memberships.ts';
import { rowOf, ScoreCache } from './score-cache.ts';
import { ScoresRequest } from './scores-schema.ts';

export interface ScoresReply {
  /** the answer as JSON */
  readonly body: Uint8Array;
  readonly keys: number;
}

const checkRequest = Compile(ScoresRequest);

/** Requests for scores, from bytes to bytes, so that whoever talks HTTP has nothing to do with them. */
export class ScoreDesk {
  readonly #ctx: Context;
  readonly #lives: Lives;
  readonly #memberships: Memberships;
  readonly #caches = new WeakMap<Live, ScoreCache>();

  constructor(ctx: Context, lives: Lives) {
    this.#ctx = ctx;
    this.#lives = lives;
    this.#memberships = new Memberships(ctx);
  }

  /** @throws ForeshadowError USAGE for a body that is not a request, MIGRATION_UNKNOWN */
  async answer(body: Uint8Array): Promise<ScoresReply> {
    const { migration: name, keys } = parseRequest(body);
    const { live, migration } = await this.#lives.fresh(name);
    requireKeysOf(migration, keys);
    const cache = this.#cacheOf(live).under(live.modelVersion);
    const now = this.#ctx.clock.now();
    const ids = keys.map(keyId);
    const members = await this.#memberships.of(migration, ids);
    const entries = ids.map((id) => cache.get(id, now));
    const missing = ids.flatMap((_, i) => (entries[i] ? [] : [i]));
    const found = await scoreKeys(
      live,
      migration,
      missing.map((i) => ids[i] as KeyId),
      now,
    );
    missing.forEach((i, j) => {
      entries[i] = cache.put(ids[i] as KeyId, keys[i] as string[], now, {
        score: found.score[j] as number,
        accesses: found.accesses[j] as number,
        changes: found.changes[j] as number,
        known: found.known[j] as boolean,
      });
    });
    const until = live.observation?.until ?? Number.NEGATIVE_INFINITY;
    let asOf = now;
    let rows = '';
    for (const [i, entry] of entries.entries()) {
      if (!entry) throw new Error('unreachable: every key has an entry');
      if (entry.at < asOf) asOf = entry.at;
      rows += i === 0 ? rowOf(entry, ids[i] as KeyId, members) : `,${rowOf(entry, ids[i] as KeyId, members)}`;
    }
    const head = JSON.stringify({
      schema: 1,
      migration: migration.name,
      model: found.model,
      as_of: asOf,
      features_until: Number.isFinite(until) ? until : null,
      members_as_of: members?.asOf ?? null,
    });
    return { body: new TextEncoder().encode(`${head.slice(0, -1)},"scores":[${rows}]}`), keys: keys.length };
  }

  /** One cache for each migration's live features; it goes with them. */
  #cacheOf(live: Live): ScoreCache {
    let cache = this.#caches.get(live);
    if (!cache) {
      const made = new ScoreCache();
      cache = made;
      this.#caches.set(live, made);
      live.onObserved = (accesses) => made.forget(accesses);
    }
    return cache;
  }
}

function parseRequest(body: Uint8Array): ScoresRequest {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new ForeshadowError('USAGE', 'the body is not JSON');
  }
  if (checkRequest.Check(document)) return document;
  const [first] = checkRequest.Errors(document);
  const where = first?.instancePath ? `"${first.instancePath.slice(1).replaceAll('/', '.')}" ` : 'the body ';
  throw new ForeshadowError('USAGE', `${where}${first?.message ?? 'is not a request for scores'}`);
}

function requireKeysOf({ plan }: Migration, keys: readonly (readonly string[])[]): void {
  const columns = plan.sourceKey.length;
  const wrong = keys.findIndex((key) => key.length !== columns);
  if (wrong < 0) return;
  const names = plan.sourceKey.map((column) => column.name).join(', ');
  throw new ForeshadowError(
    'USAGE',
    `"keys.${wrong}" has ${keys[wrong]?.length} parts, and the key has ${columns}: ${names}`,
  );
}
