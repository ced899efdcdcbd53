import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { Lanes } from '../../src/sync/lanes.ts';
import { type Rig, type RigOptions, rig } from '../chaos/rig.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

const small: RigOptions = {
  setup: `create table s (id int primary key, v int, u text);
          insert into s select g, g, 'u' || g from generate_series(1, 500) g;
          create table t (id bigint primary key, v numeric(12, 2), u text);
          create table nothing ();`,
  file: { map: { id: 'id::bigint', v: '(v / 100.0)::numeric(12, 2)' } },
  expected: 'select id::bigint, (v / 100.0)::numeric(12, 2), u from s',
};

/** All copied and finished, lanes at work: the write cutover may come. */
async function ready(options: RigOptions = small): Promise<{ m: Rig; lanes: Lanes }> {
  const m = await (await rig(options)).begin();
  const lanes = m.running();
  await lanes.start();
  cleanups.push(() => lanes.stop());
  await m.cutOverReads();
  while (!(await m.copied())) await sleep(10);
  await m.finish();
  return { m, lanes };
}

describe('P33: a snapshot from before the drain', () => {
  it('that was opened while the cutover waited for its lock holds the swap back, and reads no stale row', async () => {
    const m = await (await rig(small)).begin();
    cleanups.push(() => m.close());
    await m.claim();
    await m.cutOverReads();
    await m.settle();
    await m.finish();
    await m.settle();
    const [writer, old] = await Promise.all([m.db.client(), m.db.client()]);
    // a change that S shows already, and T not yet
    await m.sql('insert into s values (9001, 7); update s set v = 70000 where id = 1');
    await writer.query('begin; update s set v = 1 where id = 2');
    const reasons: string[] = [];
    const cutover = m.cutOverWrites({
      maxAttempts: 100,
      onWait: async (reason) => void reasons.push(reason),
    });
    const waits = `select 1 from pg_locks where relation = 's'::regclass and mode = 'ExclusiveLock' and not granted`;
    while (!(await m.sql(waits)).length) await sleep(1);
    await old.query('begin isolation level repeatable read; select * from nothing');
    await writer.query('commit');
    const stop = new AbortController();
    const lanes = m.lanes.map((lane) => lane.run(stop.signal));
    cleanups.push(async () => {
      stop.abort();
      await Promise.all(lanes);
    });
    await sleep(600);
    const { rows } = await old.query(
      'select id::text, v::float8 as v from s where id in (1, 9001) order by id',
    );
    expect(rows, 'as the snapshot has it').toEqual([
      { id: '1', v: 70000 },
      { id: '9001', v: 7 },
    ]);
    expect(reasons.join()).toContain('waiting for snapshots from before the drain');
    await old.query('commit');
    expect((await cutover).status).toBe('COMPLETED');
  });
});

describe('transactions that read and then write', () => {
  it('get out of the way', async () => {
    const { m } = await ready();
    const stop = { now: false };
    let n = 0;
    const work = Array.from({ length: 4 }, async () => {
      const client = await m.db.client();
      while (!stop.now) {
        await client.query('begin');
        const id = 1 + Math.floor(Math.random() * 500);
        await client.query('select v from s where id = $1', [id]);
        await sleep(2);
        await client.query('update s set v = v + 1 where id = $1', [id]);
        await client.query('commit');
        n++;
        await sleep(2);
      }
      await client.end();
    });
    const reasons: string[] = [];
    await sleep(100);
    const began = performance.now();
    await m
      .cutOverWrites({
        maxAttempts: 25,
        clock: {
          now: () => Date.now() / 1000,
          sleep: (ms) => sleep(Math.min(100, ms)).then(() => undefined),
        },
        onWait: async (r) => void reasons.push(r.slice(0, 150)),
      })
      .finally(() => {
        stop.now = true;
        process.stdout.write(`${performance.now() - began} ms ${n} ${reasons.join('\n')}\n`);
      });
    await Promise.all(work);
    expect(n).toBeGreaterThan(0);
  });
});
