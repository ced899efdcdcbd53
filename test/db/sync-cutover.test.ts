import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { OlderSnapshots } from '../../src/migration/cutover/older-snapshots.ts';
import { settleTarget } from '../../src/migration/finish-target.ts';
import { atTheSwap, differenceSql, type RigOptions, rig } from '../chaos/rig.ts';
import { failureOf } from '../support/migrations.ts';

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

const ready = (options: RigOptions = small) => atTheSwap(options, cleanups);

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

describe('P33: statements that queued for the table before the swap', () => {
  it('raise 40001 in REPEATABLE READ and SERIALIZABLE, and never change 0 rows', async () => {
    const { m } = await ready();
    const stop = { now: false };
    const names = ['read committed', 'repeatable read', 'repeatable read', 'serializable'];
    const changed: Record<string, number> = {};
    const refused: string[] = [];
    const writers = names.map(async (isolation, i) => {
      const client = await m.db.client();
      while (!stop.now) {
        try {
          await client.query(`begin isolation level ${isolation}`);
          const { rowCount } = await client.query(`update s set v = v + 1 where id = ${i + 1}`);
          await client.query('commit');
          changed[`${isolation}: ${rowCount} row`] = 1;
        } catch (error) {
          refused.push((error as Error).message);
          expect((error as { code?: string }).code).toBe('40001');
          await client.query('rollback');
        }
      }
      await client.end();
    });
    await sleep(50);
    expect((await m.cutOverWrites()).status).toBe('COMPLETED');
    await sleep(100);
    await settleTarget(m.db.ctx.pool, m.migration, systemClock, async () => true);
    await sleep(50);
    stop.now = true;
    await Promise.all(writers);
    expect(Object.keys(changed).sort()).toEqual([...new Set(names)].sort().map((name) => `${name}: 1 row`));
    expect(refused.join('; ')).toContain('the table was swapped after this snapshot was taken');
    const guards = await m.sql(
      `select 1 from pg_trigger where tgrelid = 's'::regclass and tgname = 'foreshadow_guard'`,
    );
    expect(guards, 'the guard is gone when nobody needs it any more').toEqual([]);
  });
});

describe('who stands in the way of the write cutover', () => {
  it('P43: a prepared transaction is named by its gid', async () => {
    const { m } = await ready();
    await m.sql(`begin; update s set v = 0 where id = 3; prepare transaction 'the one in the way'`);
    await sleep(1100);
    const failure = await failureOf(m.cutOverWrites({ maxAttempts: 1 }));
    expect(failure).toMatchObject({ code: 'CUTOVER_BLOCKED' });
    expect(failure.message).toContain('prepared transaction the one in the way');
    await m.sql(`commit prepared 'the one in the way'`);
    expect((await m.cutOverWrites()).status).toBe('COMPLETED');
    expect(await m.sql('select v::float8 as v from s where id = 3')).toEqual([{ v: 0 }]);
  });

  it("another role's old snapshot counts, even where we may not see how old it is", async () => {
    const m = await (await rig(small)).begin();
    const lanes = m.running();
    await lanes.start();
    cleanups.push(() => lanes.stop());
    await m.cutOverReads();
    while (!(await m.copied())) await sleep(10);
    await m.finish();
    const role = `reader_${m.db.name}`;
    const owner = `owner_${m.db.name}`;
    await m.sql(`create role ${role}; create role ${owner}; grant select on s, nothing to ${role};`);
    cleanups.push(() =>
      m.sql(`drop owned by ${role}; drop owned by ${owner}; drop role ${role}; drop role ${owner}`),
    );
    const [reader, ours] = await Promise.all([m.db.client(), m.db.client()]);
    await reader.query(
      `set session authorization ${role}; begin isolation level repeatable read; select * from nothing`,
    );
    await ours.query(`set session authorization ${owner}`);
    const later = { at: new Date(Date.now() + 60_000), horizon: null, busy: false };
    const { left: seen } = await new OlderSnapshots([m.plan.sourceOid], later).look(ours);
    expect(seen.map((blocker) => blocker.pid)).toContain(
      (reader as unknown as { processID: number }).processID,
    );
    await reader.query('rollback; reset session authorization');
    await ours.query('reset session authorization');
  });

  it('P48: writers are held no longer than the budget, whoever holds the swap up', async () => {
    const { m } = await ready();
    const stop = { now: false };
    const client = await m.db.client();
    let longest = 0;
    const writer = (async () => {
      while (!stop.now) {
        const began = performance.now();
        await client.query('update s set v = v + 1 where id = 1');
        longest = Math.max(longest, performance.now() - began);
        await sleep(3);
      }
    })();
    const reader = await m.db.client();
    await reader.query(`begin; select 1 from ${m.plan.names.overlay} limit 1`);
    const failure = await failureOf(m.cutOverWrites({ maxAttempts: 4 }));
    expect(failure.code).toBe('CUTOVER_BLOCKED');
    await reader.query('commit');
    stop.now = true;
    await writer;
    const budget = 250;
    expect(longest).toBeGreaterThan(20); // it was held, after all
    expect(longest).toBeLessThan(budget + 150);
  });

  it('a cutover whose process stops dead while it holds writers loses its lock by itself', async () => {
    const { m } = await ready();
    const reader = await m.db.client();
    await reader.query(`begin; select 1 from ${m.plan.names.overlay} limit 1`);
    // A process that stops: its session gets no further statement after the lock on writers.
    const frozen: Promise<void> = new Promise((resolve) => cleanups.push(async () => resolve()));
    const cutover = m.cutOverWrites({
      maxAttempts: 1,
      connect: async () => {
        const client = await m.db.ctx.connect('cutover');
        const query = client.query.bind(client) as (...args: unknown[]) => Promise<unknown>;
        let locked = false;
        client.query = (async (...args: unknown[]) => {
          if (locked) await Promise.race([frozen, sleep(1500)]);
          const result = await query(...args);
          if (/in exclusive mode/.test(String(args[0]))) locked = true;
          return result;
        }) as unknown as typeof client.query;
        return client;
      },
    });
    const failure = failureOf(cutover);
    while (
      !(
        await m.sql(
          `select 1 from pg_locks where relation = 's'::regclass and mode = 'ExclusiveLock' and granted`,
        )
      ).length
    )
      await sleep(1);
    const began = performance.now();
    await m.sql('update s set v = 1 where id = 1');
    expect(performance.now() - began).toBeLessThan(700);
    expect((await failure).code).toBe('CUTOVER_BLOCKED');
    await reader.query('commit');
  });

  it('P41: SHARE UPDATE EXCLUSIVE comes first, so that an autovacuum gives way', async () => {
    const { m } = await ready({
      ...small,
      setup: `${small.setup} create table bound (id int references s);`,
    });
    const statements: string[] = [];
    await m.cutOverWrites({
      connect: async () => {
        const client = await m.db.ctx.connect('cutover');
        const query = client.query.bind(client) as (...args: unknown[]) => Promise<unknown>;
        client.query = ((...args: unknown[]) => {
          statements.push(String(args[0]));
          return query(...args);
        }) as unknown as typeof client.query;
        return client;
      },
    });
    const at = (pattern: RegExp) => statements.findIndex((text) => pattern.test(text));
    const [first, exclusive] = [at(/share update exclusive/), at(/ in exclusive mode/)];
    expect(statements[first - 1]).toMatch(/lock_timeout = '3s'/);
    expect(exclusive).toBeGreaterThan(first);
    // an autovacuum of the target, which has just been filled, would be in the way too
    expect(statements[first]).toContain(`${m.plan.names.source}, ${m.plan.names.target}`);
    // and one of a table that loses its foreign key
    expect(at(/^lock table only public\.bound in share update exclusive/)).toBe(first + 1);
  });

  it('a name that is taken, and stays so: refused at the second attempt, not tried for an hour', async () => {
    const { m } = await ready();
    await m.sql('create table foreshadow.s_old ()');
    const waits: string[] = [];
    const failure = await failureOf(m.cutOverWrites({ onWait: async (reason) => void waits.push(reason) }));
    expect(failure.code).toBe('CONFLICT');
    expect(failure.message).toContain('"s_old" already exists');
    expect(waits.length).toBe(1);
    await m.sql('drop table foreshadow.s_old');
    await m.cutOverWrites();
  });
});

describe('P5: a large transaction that commits while the cutover waits for its lock', () => {
  it('arrives whole', async () => {
    const m = await (await rig({ ...small, setup: small.setup.replace('500)', '6000)') })).begin();
    const lanes = m.running();
    await lanes.start();
    cleanups.push(() => lanes.stop());
    await m.cutOverReads();
    while (!(await m.copied())) await sleep(10);
    await m.finish();
    const large = await m.db.client();
    await large.query('begin; update s set v = 123456 where id <= 5000');
    const cutover = m.cutOverWrites();
    while (
      !(await m.sql(`select 1 from pg_locks where relation = 's'::regclass and mode = 'ExclusiveLock'`))
        .length
    )
      await sleep(1);
    await large.query('commit');
    expect((await cutover).status).toBe('COMPLETED');
    expect(await m.sql('select count(*)::int as n from s where v = 1234.56')).toEqual([{ n: 5000 }]);
    expect(await m.sql('select count(*)::int as n from s')).toEqual([{ n: 6000 }]);
  });
});

describe('P24: numbers go on where they stood', () => {
  it.each([
    ['serial → bigserial', 'id serial', 'id bigserial'],
    ['serial → bigint without a default', 'id serial', 'id bigint'],
    ['identity → identity', 'id int generated always as identity', 'id bigint generated always as identity'],
    ['identity → bigint without a default', 'id int generated by default as identity', 'id bigint'],
  ])('%s: the numbers of deleted rows are not given out again', async (_, from, to) => {
    const { m } = await ready({
      setup: `create table s (${from} primary key, v int); insert into s (v) select g from generate_series(1, 100) g;
              create table t (${to} primary key, v int);`,
      file: { map: { id: 'id::bigint' } },
      expected: 'select id::bigint, v from s',
    });
    await m.sql('delete from s where id > 90; insert into s (v) values (0); delete from s where v = 0');
    await m.cutOverWrites();
    const [next] = await m.sql<{ id: string }>('insert into s (v) values (1) returning id::text');
    expect(next).toEqual({ id: '102' });
  });
});

describe('after the write cutover', () => {
  it('the overlay is the new table, also for a snapshot from before the swap', async () => {
    const { m } = await ready();
    // in our schema, so that it stays with the old table
    await m.sql(`create view foreshadow.mapped as ${small.expected}`);
    const holder = await m.db.client();
    const old = await m.db.client();
    await holder.query(`begin; select 1 from ${m.plan.names.overlay} limit 1`);
    const cutover = m.cutOverWrites();
    while (
      !(await m.sql(`select 1 from pg_locks where relation = 't'::regclass and mode = 'AccessExclusiveLock'`))
        .length
    )
      await sleep(1);
    await old.query('begin isolation level repeatable read; select * from nothing');
    await holder.query('commit');
    await cutover;
    await m.sql(
      `update s set v = 0 where id < 10; delete from s where id = 20; insert into s values (7777, 7, 'new')`,
    );
    const closed = await old.query(`select 1 from ${m.plan.names.overlayGate}`);
    expect(closed.rowCount, 'the snapshot is older than the swap').toBe(0);
    const overlay = `select * from ${m.plan.names.overlay}`;
    expect((await old.query(differenceSql(overlay, 'select * from foreshadow.mapped'))).rows).toEqual([]);
    expect(
      (await old.query(differenceSql('select * from s', 'select * from foreshadow.mapped'))).rows,
    ).toEqual([]);
    await old.query('commit');
    expect(await m.sql(differenceSql(overlay, 'select * from s'))).toEqual([]);
    expect(await m.sql('select 1 from s where id in (20, 7777)')).toHaveLength(1);
  });
});
