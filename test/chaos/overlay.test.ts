import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { afterAll, describe, expect, it } from 'vitest';
import { keyId } from '../../src/core/key.ts';
import { transaction } from '../../src/db/tx.ts';
import { settleTarget } from '../../src/migration/finish-target.ts';
import { requireEqual, verify } from '../../src/migration/verify.ts';
import { storedMembers } from '../../src/shadow/members.queries.ts';
import {
  judgeByChance,
  lowerRandom,
  setLaneSampling,
  wantCertain,
  wantRandom,
} from '../../src/shadow/wanted.queries.ts';
import { sourceRanges } from '../../src/sync/chunk.queries.ts';
import { setLaneMode } from '../../src/sync/lane.queries.ts';
import type { Lanes } from '../../src/sync/lanes.ts';
import { type Difference, differenceSql, type Rig, type RigOptions, rig } from './rig.ts';
import { below, hostileWriter, type Shape, type WriterCounts } from './writers.ts';

const rows = 1000;
const letters = ['a', 'B', 'c', 'É', 'e', '-z', 'Z'];

/** S and T of one kind of key. Beside it: a number with another scale, a nullable text, a constant, a generated column. */
function tables(keyOfS: string, keyOfT: string, columns: string, from: string, unique: boolean): string {
  const u = unique ? 'u text unique' : 'u text';
  return `
    create table s (${keyOfS}, v int not null, w text, ${u}, primary key (${columns}));
    insert into s select ${from}, g, case when g % 3 > 0 then 'w' || g end, 'u' || g from generate_series(1, ${rows}) g
      on conflict do nothing;
    create table t (${keyOfT}, v numeric(14, 2) not null, w text, ${u}, z int not null default 5,
      g text generated always as (coalesce(w, '-') || z) stored, primary key (${columns}));
    create table nothing ();`;
}
const rest = `(v / 100.0)::numeric(14, 2) as v, w, u, 5 as z, coalesce(w, '-') || 5 as g from s`;

const kinds: (Shape & RigOptions & { readonly name: string })[] = [
  {
    name: 'composite key with a text in a linguistic collation',
    key: ['a', 'b'],
    someKey: () => {
      const n = 1 + below(rows * 1.2);
      return [String(1 + Math.floor(n / 3)), letters[n % 7] as string];
    },
    aside: (writer) => [String(-9 - writer), 't'],
    unique: true,
    setup: tables(
      'a int, b text collate "en-x-icu"',
      'a bigint, b text collate "en-x-icu"',
      'a, b',
      `1 + g / 3, (array['${letters.slice(1).join("','")}','a'])[1 + (g + 6) % 7]`,
      true,
    ),
    file: { key: ['a', 'b'], map: { a: 'a::bigint', v: '(v / 100.0)::numeric(14, 2)' }, copy: { lanes: 3 } },
    expected: `select a::bigint as a, b, ${rest}`,
  },
  {
    name: 'int → bigint',
    key: ['id'],
    someKey: () => [String(1 + below(rows * 1.2))],
    aside: (writer) => [String(-9 - writer)],
    unique: true,
    setup: tables('id int', 'id bigint', 'id', 'g', true),
    file: { key: ['id'], map: { id: 'id::bigint', v: '(v / 100.0)::numeric(14, 2)' } },
    expected: `select id::bigint as id, ${rest}`,
  },
  {
    name: 'numeric → text, where 1.0 and 1.00 are one key of S and two of T',
    key: ['id'],
    someKey: () => [`${1 + below(rows * 1.2)}${['', '.0', '.00'][below(3)]}`],
    aside: (writer) => [`-${9 + writer}.0`],
    unique: false,
    setup: tables('id numeric', 'id text', 'id', `(g || '.0')::numeric`, false),
    file: { key: ['id'], map: { id: 'id::text', v: '(v / 100.0)::numeric(14, 2)' }, copy: { lanes: 3 } },
    expected: `select id::text as id, ${rest}`,
  },
  {
    name: 'uuid → text',
    key: ['id'],
    someKey: () => [uuid(1 + below(rows * 1.2))],
    aside: (writer) => [uuid(5_000_000 + writer)],
    unique: false,
    setup: tables(
      'id uuid',
      'id text collate "C"',
      'id',
      `md5(g::text)::uuid`.replace(
        'md5(g::text)',
        `('00000000-0000-4000-8000-' || lpad((g * 7919 % 1000003)::text, 12, '0'))`,
      ),
      false,
    ),
    file: { key: ['id'], map: { id: 'id::text', v: '(v / 100.0)::numeric(14, 2)' } },
    expected: `select id::text collate "C" as id, ${rest}`,
  },
];
const uuid = (n: number) => `00000000-0000-4000-8000-${String((n * 7919) % 1000003).padStart(12, '0')}`;

const total = { snapshots: 0, inside: 0, straddling: 0, afterSwap: 0, operations: 0, prepared: 0 };

/** Everything that looks at the overlay. Views bind S and T by OID, so the swap's renames cannot mix them up. */
class Watch {
  readonly #rig: Rig;
  /** readers make room: while the swap looks for its moment they take short snapshots and long breaks */
  gentle = false;
  readonly found: { where: string; differences: Difference[] }[] = [];
  readonly counts = { snapshots: 0, inside: 0, straddling: 0, afterSwap: 0 };

  constructor(made: Rig) {
    this.#rig = made;
  }

  async prepare(): Promise<void> {
    const { plan, expected } = this.#rig;
    await this.#rig.sql(`create view foreshadow.mapped_source as ${expected};
      create view new_table as select * from ${plan.names.target};`);
  }

  /** One snapshot: before the swap the overlay is f(S), after it the new table. */
  async compare(client: Client, where: string): Promise<void> {
    const { overlay, overlayGate } = this.#rig.plan.names;
    const closed = `exists (select 1 from ${overlayGate})`;
    const right = `select * from foreshadow.mapped_source where not ${closed} union all select * from new_table where ${closed}`;
    const { rows: found } = await client.query<Difference>(differenceSql(`select * from ${overlay}`, right));
    this.counts.snapshots += 1;
    if (found.length) this.found.push({ where, differences: found.slice(0, 5) });
  }

  async reader(id: number, stop: { readonly now: boolean }): Promise<void> {
    const client = await this.#rig.db.client({ application_name: `reader ${id}` });
    while (!stop.now) {
      const isolation = ['read committed', 'repeatable read', 'serializable read only'][below(3)];
      await client.query(`begin isolation level ${isolation}`);
      try {
        if (below(2)) {
          await client.query('select * from nothing'); // the snapshot is taken now and used later
          await sleep(below(this.gentle ? 5 : 25));
        }
        await this.compare(client, isolation as string);
        if (!this.gentle && below(3) === 0) await this.compare(client, `${isolation}, again`);
        await client.query('commit');
      } catch (error) {
        if ((error as { code?: string }).code !== '40001') throw error;
        await client.query('rollback');
      }
      await sleep(this.gentle ? 40 + below(40) : below(10));
    }
    await client.end();
  }

  /**
   * Takes a snapshot between the drain and the swap, and looks after the swap: T must be complete for it already, by
   * its new name and through the overlay. Holds the swap's last lock up for a moment to get in between.
   */
  async straddle(stop: { readonly now: boolean }): Promise<void> {
    const { db, plan } = this.#rig;
    const [holder, old, looker] = await Promise.all([db.client(), db.client(), db.client()]);
    const swapWaits = async () =>
      (
        await looker.query(
          `select 1 from pg_locks where relation = $1::regclass and mode = 'AccessExclusiveLock' and not granted`,
          [plan.names.overlay],
        )
      ).rowCount === 1;
    while (!stop.now && this.counts.straddling === 0) {
      await holder.query(`begin; select 1 from ${plan.names.overlay} limit 1`);
      while (!stop.now && !(await swapWaits())) await sleep(2);
      await old.query('begin isolation level repeatable read; select * from nothing');
      await holder.query('commit');
      await sleep(30);
      const swapped = await looker.query(`select 1 from ${plan.names.overlayGate}`);
      const seen = await old.query(`select 1 from ${plan.names.overlayGate}`);
      if (swapped.rowCount && !seen.rowCount) {
        await this.compare(old, 'a snapshot from between drain and swap');
        const name = differenceSql('select * from s', 'select * from foreshadow.mapped_source');
        const { rows: byName } = await old.query<Difference>(name);
        if (byName.length)
          this.found.push({
            where: 'the new table by name, by a snapshot from before the swap',
            differences: byName.slice(0, 5),
          });
        this.counts.straddling += 1;
      }
      await old.query('rollback');
      if (swapped.rowCount) break;
    }
    await Promise.all([holder.end(), old.end(), looker.end()]);
  }
}

/** The sampler's part: rows come and go at random, as fast as lanes can admit and evict them. */
async function sample(made: Rig, shape: Shape, stop: { readonly now: boolean }): Promise<void> {
  const { plan } = made;
  const { pool } = made.db.ctx;
  let rate = 0;
  while (!stop.now) {
    const stored = await storedMembers(pool, plan, 'certain');
    const leaving = stored.filter(() => below(2) === 0);
    const certain = new Map(
      Array.from({ length: 80 }, () => [keyId(shape.someKey()), { stratum: 'predictive' as const }]),
    );
    const next = [0.05, 0.1, 0.2][below(3)] as number;
    await setLaneSampling(pool, plan, next, 20);
    await wantCertain(pool, plan, certain);
    await judgeByChance(pool, plan, leaving, next);
    if (next < rate) await lowerRandom(pool, plan, next);
    else
      for (const bounds of await sourceRanges(pool, plan)) await wantRandom(pool, plan, bounds, rate, next);
    rate = next;
    await sleep(60);
  }
}

const hasty = {
  now: () => Date.now() / 1000,
  sleep: (ms: number) => sleep(Math.min(ms, 60)).then(() => undefined),
};

async function live(kind: (typeof kinds)[number]): Promise<{ watch: Watch; counts: WriterCounts }> {
  const made = await rig({ ...kind, chunkRows: 25 });
  const watch = new Watch(made);
  const over = { now: false };
  const sampled = { now: false };
  const counts: WriterCounts = { operations: 0, commits: 0, prepared: 0, rolledBack: 0, refused: {} };
  let ready = false;
  const lookInside = async (client: Client) => {
    if (!ready) return;
    await watch.compare(client, 'inside a writer');
    watch.counts.inside += 1;
  };
  const writers = Array.from({ length: 6 }, (_, id) =>
    hostileWriter(id, { db: made.db, shape: kind, pause: 12, lookInside }, counts, over),
  );
  const work: Promise<unknown>[] = [...writers];
  const failed = new Promise<never>((_, reject) => {
    for (const writer of writers) writer.catch(reject);
  });
  let lanes: Lanes | null = null;
  try {
    await Promise.race([failed, script()]);
  } finally {
    over.now = sampled.now = true;
    await Promise.allSettled(work);
    await (lanes as Lanes | null)?.stop();
  }
  await Promise.all(work);
  return { watch, counts };

  /** At least so many snapshots and milliseconds: a slow machine takes its time, up to a point. */
  async function enough(snapshots: number, ms: number): Promise<void> {
    const began = performance.now();
    await sleep(ms);
    while (watch.counts.snapshots < snapshots && performance.now() - began < 15_000) await sleep(50);
  }

  async function script(): Promise<void> {
    const { pool } = made.db.ctx;
    await sleep(100);
    await made.begin();
    await watch.prepare();
    ready = true;
    const running = made.running({ rowsPerSecond: 1500 });
    lanes = running;
    await running.start();
    for (let id = 0; id < 2; id++) work.push(watch.reader(id, over));
    const sampling = sample(made, kind, sampled);
    work.push(sampling);
    await enough(130, 2500);
    sampled.now = true;
    await sampling;
    await made.cutOverReads();
    await sleep(300);
    // Back, in the middle of the copy: cursors start anew, or what changed meanwhile would be lost.
    await transaction(pool, (client) => setLaneMode(client, made.plan, 'SHADOWING'));
    await sleep(300);
    await transaction(pool, (client) => setLaneMode(client, made.plan, 'IN_PROGRESS'));
    for (const until = performance.now() + 15_000; !(await made.copied()); await sleep(20)) {
      running.check();
      expect(performance.now(), 'the copy takes too long').toBeLessThan(until);
    }
    await made.finish();
    requireEqual(made.plan, await verify(pool, made.plan, { clock: hasty, repair: false }));
    running.check();
    watch.gentle = true;
    const straddling = watch.straddle(over);
    work.push(straddling);
    const moved = await made.cutOverWrites({ clock: hasty });
    await straddling;
    watch.gentle = false;
    const before = watch.counts.snapshots;
    await enough(280, 800);
    await settleTarget(pool, moved, hasty, async () => true);
    watch.counts.afterSwap = watch.counts.snapshots - before;
    running.check();
  }
}

describe('the overlay under six hostile writers', () => {
  it.each(kinds.map((kind) => [kind.name, kind] as const))(
    'equals f(S) in every snapshot, and the new table after the swap: %s',
    async (_, kind) => {
      const { watch, counts } = await live(kind);
      expect(watch.found).toEqual([]);
      expect(watch.counts.inside).toBeGreaterThan(10);
      expect(watch.counts.afterSwap).toBeGreaterThan(5);
      expect(watch.counts.straddling).toBe(1);
      for (const name of ['snapshots', 'inside', 'straddling', 'afterSwap'] as const)
        total[name] += watch.counts[name];
      total.operations += counts.operations;
      total.prepared += counts.prepared;
    },
    60_000,
  );

  afterAll(() => {
    process.stdout.write(`overlay: ${JSON.stringify(total)}\n`);
    expect(total.snapshots).toBeGreaterThanOrEqual(1000);
  });
});
