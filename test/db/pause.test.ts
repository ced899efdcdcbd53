import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { pauseMigration, resumeMigration } from '../../src/migration/orders.ts';
import { getMigration } from '../../src/migration/status.store.ts';
import { tend, tendAll } from '../../src/migration/tend.ts';
import type { PipelineEvent } from '../../src/pipeline.ts';
import { thinKeyLog } from '../../src/sync/thin.queries.ts';
import { type Rig, rig } from '../chaos/rig.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

const setup = `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 2000) g;
               create table t (id bigint primary key, v int);`;
const options = { setup, file: { map: { id: 'id::bigint' } }, expected: 'select id::bigint, v from s' };

async function begun(more: object = {}): Promise<Rig> {
  const m = await (await rig({ ...options, ...more })).begin();
  cleanups.push(() => m.close());
  return m;
}

const waiting = async (m: Rig) =>
  (await m.sql<{ n: number }>(`select count(*)::int as n from ${m.plan.names.keyLog}`))[0]?.n;

/** Thins the whole key log, a few rows at a time. */
async function thin(m: Rig, limit = 7): Promise<number> {
  let removed = 0;
  for (let next: readonly string[] | null | undefined; next !== null; ) {
    const run = await thinKeyLog(m.db.ctx.pool, m.plan, next ?? null, limit);
    if (!run) return removed;
    removed += run.removed;
    next = run.next;
  }
  return removed;
}

describe('pausing for days', () => {
  it('many changes: the key log holds a row a key, two for fresh ones; nothing is lost', async () => {
    const m = await begun();
    await m.claim();
    await m.cutOverReads();
    await m.settle();
    await m.close();
    await pauseMigration(m.db.pool, 'm', 'test');
    for (let i = 0; i < 30; i++) {
      await m.sql(`update s set v = v + 1 where id <= 300`);
      await m.sql(`insert into s values (${9000 + i}, 0); update s set v = 1 where id >= 9000`);
      if (i % 3 === 0) await m.sql(`delete from s where id = ${300 - i}`);
      await tend(m.db.ctx.pool, await m.reload(), 500);
      // twice what was left the last time, and what one turn adds to it
      expect(await waiting(m)).toBeLessThanOrEqual(2 * (300 + 2 * 31) + 400);
    }
    await tend(m.db.ctx.pool, await m.reload(), 1);
    await thin(m);
    expect(await waiting(m)).toBe(300 + 2 * 30);
    expect(await m.overlayDifferences()).toEqual([]);
    const events = await m.sql(`select detail from foreshadow.migration_event where kind = 'thinned'`);
    expect(events.length).toBeGreaterThan(0);

    await resumeMigration(m.db.pool, 'm');
    await m.claim();
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
  });

  it('a key whose rows are more than one statement takes is thinned too; fresh rows stay fresh', async () => {
    const m = await begun();
    for (let i = 0; i < 25; i++) await m.sql('update s set v = v + 1 where id in (5, 6)');
    await m.sql('insert into s values (9000, 0)');
    for (let i = 0; i < 9; i++) await m.sql('update s set v = v + 1 where id = 9000');
    expect(await thin(m, 10)).toBe(24 + 24 + 8);
    expect(await m.sql(`select k1, op from ${m.plan.names.keyLog} order by k1, op`)).toEqual([
      { k1: 5, op: 'U' },
      { k1: 6, op: 'U' },
      { k1: 9000, op: 'I' },
      { k1: 9000, op: 'U' },
    ]);
    expect(await thin(m, 10)).toBe(0);
  });

  it('a service keeps the key logs of all that rests small, and lets what is at work be', async () => {
    const m = await begun();
    const { pool } = m.db.ctx;
    await m.sql(`insert into s select g, 0 from generate_series(3000, 12000) g`);
    for (let i = 0; i < 2; i++) await m.sql('update s set v = v + 1');
    const before = await waiting(m);
    await tendAll(pool);
    expect(await waiting(m), 'at work').toBe(before);
    await pauseMigration(m.db.pool, 'm', 'test');
    await tendAll(pool);
    expect(await waiting(m)).toBe(2000 + 2 * 9001);
  });

  it('a run in the foreground rests with it, says so, and goes on by itself', async () => {
    const db = await migrationDatabase(setup);
    const file = migrationOf({ map: { id: 'id::bigint' }, copy: { rowsPerSecond: 2000, chunkRows: 50 } });
    const events: PipelineEvent[] = [];
    const run = db.run(file, { onEvent: (event) => void events.push(event) });
    const seen = (type: string, status?: string) =>
      events.some(
        (event) => event.type === type && (!status || (event as { status?: string }).status === status),
      );
    while (!seen('progress')) await sleep(10);
    await pauseMigration(db.pool, 'm', 'test');
    while (!events.some((event) => event.type === 'wait' && /paused by test/.test(event.reason)))
      await sleep(10);
    const lanes = `select 1 from pg_stat_activity where datname = current_database() and application_name = 'foreshadow lane'`;
    while ((await db.pool.query(lanes)).rowCount) await sleep(10);
    expect((await getMigration(db.pool, 'm')).status).toBe('PAUSED');
    await db.pool.query('update s set v = -v');
    await resumeMigration(db.pool, 'm');
    expect(await run).toMatchObject({
      status: 'COMPLETED',
      verification: { missing: 0, extra: 0, different: 0 },
    });
    expect((await db.pool.query('select sum(v)::int as v from s')).rows).toEqual([{ v: -2001000 }]);
  });
});

describe('thinning beside everything else', () => {
  it('does nothing while a lane is at work: its refresh may not see what the kept row stands for', async () => {
    const m = await begun({ lanes: 1 });
    await m.claim();
    await m.cutOverReads();
    await m.settle();
    await m.sql('update s set v = 71 where id = 1');
    // clocks may be set back: this row is older by commit, and younger by time
    await m.sql(`update ${m.plan.names.keyLog} set at = at + interval '1 hour'`);
    const holder = await m.db.client();
    await holder.query(`begin; select 1 from ${m.plan.names.target} where id = 1 for update`);
    const [lane] = m.lanes;
    const tick = lane!.tick(); // consumes the row by a snapshot without the next change, and waits for the holder
    while (
      !(
        await m.sql(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
      ).length
    )
      await sleep(5);
    await m.sql('update s set v = 72 where id = 1');
    expect(await thinKeyLog(m.db.ctx.pool, m.plan, null, 100)).toBeNull();
    await holder.query('rollback');
    await tick;
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
  });

  it('beside writers, lanes that come and go, and readers in snapshots of any age: the overlay is exact', async () => {
    const m = await begun();
    const lanes = m.running();
    await lanes.start();
    await m.cutOverReads();
    let over = false;
    const below = (n: number) => Math.floor(Math.random() * n);
    const writer = async () => {
      while (!over) {
        const id = 1 + below(60);
        const turn = below(4);
        if (turn === 0) await m.sql(`delete from s where id = ${id}`);
        else if (turn === 1)
          await m.sql(`insert into s values (${id}, 0) on conflict (id) do update set v = s.v + 1`);
        else if (turn === 2)
          await m
            .sql(
              `update s set id = ${id} where id = ${1 + below(60)} and not exists (select 1 from s where id = ${id})`,
            )
            .catch(() => undefined);
        else await m.sql(`update s set v = v + 1 where id between ${id} and ${id + 10}`);
      }
    };
    let thinned = 0;
    const thinner = async () => {
      while (!over) {
        thinned += await thin(m, 50);
        await sleep(1);
      }
    };
    let compared = 0;
    const reader = async () => {
      const client = await m.db.client();
      while (!over) {
        await client.query('begin isolation level repeatable read');
        for (let i = 0; i < 3; i++) {
          expect(await m.overlayDifferences(client)).toEqual([]);
          compared += 1;
          await sleep(below(10));
        }
        await client.query('commit');
      }
    };
    const hold = async () => {
      // lanes that hold still and go on, so that there is something to thin
      while (!over) {
        const stopped = await m.db.client();
        await stopped.query('begin; select 1 from foreshadow.lane order by lane for update');
        await sleep(40);
        await stopped.query('rollback');
        await stopped.end();
        await thin(m, 50).then((n) => (thinned += n));
        await sleep(10);
      }
    };
    const all = [writer(), writer(), thinner(), reader(), reader(), hold()];
    while (compared < 120 || thinned < 50) await Promise.race([sleep(50), Promise.all(all)]);
    over = true;
    await Promise.all(all);
    while ((await waiting(m)) || !(await m.copied())) await sleep(10);
    await lanes.stop();
    expect(await m.targetDifferences()).toEqual([]);
  });
});
