import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { verify } from '../../src/migration/verify.ts';
import { backlog, setLaneMode } from '../../src/sync/lane.queries.ts';
import { Lane } from '../../src/sync/lane.ts';
import { Lanes } from '../../src/sync/lanes.ts';
import { type Rig, type RigOptions, rig } from '../chaos/rig.ts';
import { failureOf } from '../support/migrations.ts';

const made: Rig[] = [];
afterEach(async () => {
  for (const each of made.splice(0)) await each.close();
});

async function shadowing(options: RigOptions): Promise<Rig> {
  const m = await (await rig(options)).begin();
  made.push(m);
  await m.claim();
  return m;
}

async function copied(options: RigOptions): Promise<Rig> {
  const m = await shadowing(options);
  await m.cutOverReads();
  await m.settle();
  expect(await m.copied()).toBe(true);
  expect(await m.targetDifferences()).toEqual([]);
  return m;
}

async function settled(m: Rig): Promise<void> {
  expect(await m.overlayDifferences()).toEqual([]);
  await m.settle();
  expect(await m.targetDifferences()).toEqual([]);
  expect(await m.overlayDifferences()).toEqual([]);
}

const plain: RigOptions = {
  setup: `create table s (id int primary key, v int, w text);
          insert into s select g, g, 'w' || g from generate_series(1, 400) g;
          create table t (id bigint primary key, v numeric(12, 2), w text);
          create table nothing ();`,
  file: { map: { id: 'id::bigint', v: '(v / 100.0)::numeric(12, 2)' } },
  expected: 'select id::bigint, (v / 100.0)::numeric(12, 2), w from s',
};

describe('what an application does to rows', () => {
  it('P1: a row that is deleted while its chunk is on its way is not brought back', async () => {
    const m = await shadowing({ ...plain, lanes: 1 });
    await m.cutOverReads();
    const deleter = await m.db.client();
    await deleter.query('begin');
    await deleter.query('delete from s where id <= 50');
    await m.tick(); // copies the rows that the open transaction has deleted
    await deleter.query('commit');
    expect(await m.overlayDifferences()).toEqual([]);
    await settled(m);
  });

  it('P2: a delete in REPEATABLE READ, by a snapshot older than the copy, reaches the target', async () => {
    const m = await shadowing(plain);
    const old = await m.db.client();
    await old.query('begin isolation level repeatable read; select * from nothing');
    await m.cutOverReads();
    await m.settle();
    await old.query('delete from s where id <= 50; update s set w = null where id > 350; commit');
    await settled(m);
  });

  it('P3: a change whose log row is earlier and whose commit is later is not skipped', async () => {
    const m = await copied(plain);
    const [slow, quick] = await Promise.all([m.db.client(), m.db.client()]);
    await slow.query('begin; update s set v = -1 where id = 1');
    await quick.query('update s set v = -2 where id = 2');
    await m.settle();
    await slow.query('commit');
    await settled(m);
  });

  it('P4: composite keys, key changes, and values set to NULL', async () => {
    const m = await copied({
      setup: `create table s (a int, b text collate "en-x-icu", v int, w text, primary key (a, b));
              insert into s select g % 20, chr(97 + g / 20), g, 'w' from generate_series(0, 399) g;
              create table t (a bigint, b text collate "en-x-icu", v int, w text, primary key (a, b));`,
      file: { key: ['a', 'b'], map: { a: 'a::bigint' } },
      expected: 'select a::bigint, b, v, w from s',
    });
    await m.sql(`delete from s where a = 3 and b = 'c';
                 update s set b = b || '!' where a = 4;
                 update s set a = a + 1000 where b = 'e';
                 update s set w = null, v = null where a = 7;`);
    await m.sql(`begin; update s set a = -1 where a = 5 and b = 'b'; update s set a = 5 where a = 6 and b = 'b';
                 update s set a = 6 where a = -1 and b = 'b'; commit;`);
    await settled(m);
  });

  it('P26: writers as a replica, whom ordinary triggers do not see', async () => {
    const m = await copied(plain);
    await m.sql(`begin; set local session_replication_role = replica; update s set w = 'replicated' where id < 9;
                 delete from s where id = 10; insert into s values (9000, 1, 'x'); commit;`);
    await settled(m);
  });

  it('a row deleted and inserted again, rolled back in part, in one transaction', async () => {
    const m = await copied(plain);
    await m.sql(`begin; delete from s where id = 1; insert into s values (1, 11, 'again');
                 savepoint a; delete from s where id = 2; rollback to a; delete from s where id = 3; commit;`);
    await settled(m);
  });

  it('P38: a key that changes its image and stays equal: 1.0 → 1.00', async () => {
    const m = await copied({
      setup: `create table s (id numeric primary key, v int);
              insert into s select (g || '.0')::numeric, g from generate_series(1, 100) g;
              create table t (id text primary key, v int);`,
      file: { map: { id: 'id::text' } },
      expected: 'select id::text, v from s',
    });
    await m.sql(`update s set id = 1.00 where id = 1; update s set id = 2.000, v = 7 where id = 2;
                 delete from s where id = 3; insert into s values (3, 33);`);
    await settled(m);
    expect(await m.sql(`select id from ${m.plan.names.target} where id like '1.0%'`)).toEqual([
      { id: '1.00' },
    ]);
  });

  it('many log rows of one key, taken in several batches', async () => {
    const m = await copied({ ...plain, lanes: 1 });
    for (let i = 0; i < 3; i++) {
      await m.sql(`do $$ begin for i in 1..500 loop
        update s set v = v + 1 where id = 1; delete from s where id = 2; insert into s values (2, i, 'x'); end loop; end $$`);
      await m.tick();
    }
    await m.sql('delete from s where id = 2');
    await settled(m);
  });
});

describe('types', () => {
  it('toasted, arrays, enums, jsonb, bytea, timestamps, generated columns and an identity key', async () => {
    const m = await copied({
      setup: `create type mood as enum ('sad', 'glad');
        create table s (at timestamptz, m mood, id int, big text, l int[], j jsonb, b bytea, n numeric, f float8, c char(5),
          primary key (m, at, id));
        insert into s select timestamptz '2024-01-01' + g * interval '1 second 1 microsecond', (array['sad', 'glad'])[1 + g % 2]::mood,
          g, repeat(md5(g::text), 300), array[g, null, g], jsonb_build_object('g', g, 'x', null), decode(md5(g::text), 'hex'),
          g / 3.0, g / 3.0::float8, 'c' || g % 100 from generate_series(1, 120) g;
        create table t (id bigint generated always as identity, at timestamptz, m mood, big text, l int[], j jsonb, b bytea,
          n numeric(12, 3), f float8, c text, size int generated always as (length(big) + id) stored, primary key (m, at, id));`,
      file: { key: ['m', 'at', 'id'], map: { id: 'id::bigint', n: 'n::numeric(12, 3)', c: 'c::text' } },
      expected:
        'select id::bigint, at, m, big, l, j, b, n::numeric(12, 3), f, c::text, length(big) + id from s',
    });
    await m.sql(`update s set j = j || '{"y": [1]}' where id < 20; update s set l = null where id % 7 = 0;
      update s set big = big || 'x' where id = 5; update s set at = at + interval '1 microsecond' where id = 6;
      update s set m = 'glad' where id = 8; update s set b = '\\x00ff', f = 'NaN', n = 1.00 where id = 9;
      delete from s where id = 10; insert into s values (now(), 'sad', 5000, repeat('y', 9000));`);
    await settled(m);
    await m.inTransaction((client) => setLaneMode(client, m.plan, 'UNIQUE'));
    await m.sql(`update s set j = '{}' where id < 20; update s set m = 'sad' where id = 8; update s set c = 'z' where id = 30;
      update s set big = null where id = 40; delete from s where id = 11;`);
    await settled(m);
  });
});

describe('columns that the target generates', () => {
  it('are rounded and collated in the overlay and for verification as they are in the table', async () => {
    const m = await copied({
      setup: `create table s (id int primary key, net numeric(12, 2), w text);
        insert into s select g, g * 9.99, 'w' || g from generate_series(1, 120) g;
        create table t (id bigint primary key, net numeric(12, 2), w text,
          gross numeric(12, 2) generated always as (net * 1.19) stored, whole int generated always as (net) stored,
          code varchar(9) collate "C" generated always as (upper(w)) stored);`,
      file: { map: { id: 'id::bigint' }, back: { id: 'id::int' } },
      expected:
        'select id::bigint, net, w, round(net * 1.19, 2), round(net)::int, upper(w)::varchar(9) from s',
    });
    expect(m.plan.noWayBack).toEqual([]);
    await m.sql(
      `insert into s values (999, 9.99, 'x'); update s set net = 1.05 where id < 9; delete from s where id = 9`,
    );
    await settled(m);
    expect(await verify(m.db.ctx.pool, m.plan, { clock: systemClock, repair: false })).toMatchObject({
      compared: 120,
      missing: 0,
      extra: 0,
      different: 0,
    });
  });
});

describe('what capture refuses or notices', () => {
  it('P9, P40: TRUNCATE of the source is refused, and so is it for a replica', async () => {
    const m = await copied(plain);
    const refused = await failureOf(m.sql('truncate s'));
    expect(refused.code).toBe('55000');
    expect(refused.message).toMatch(/cannot be truncated while migration "m" runs/);
    await failureOf(m.sql('begin; set local session_replication_role = replica; truncate s'));
    await settled(m);
  });

  it.each([
    'disable trigger user',
    'disable trigger all',
    'enable replica trigger foreshadow_capture',
  ])('P42: %s stops the lanes, also after it is undone', async (what) => {
    const m = await copied(plain);
    await m.sql(`alter table s ${what}; update s set v = 0 where id = 1;
                   alter table s enable trigger user; alter table s enable always trigger foreshadow_capture;
                   alter table s enable always trigger foreshadow_truncate`);
    expect((await failureOf(m.tick())).code).toBe('CAPTURE_BROKEN');
    await m.close();
    expect((await failureOf(m.cutOverWrites({ maxAttempts: 1 }))).code).toBe('CAPTURE_BROKEN');
  });

  it.each([
    ['source', 'alter table s add column z int'],
    ['target', 'alter table foreshadow.t add column z int'],
  ])('a changed %s stops the lanes', async (role, ddl) => {
    const m = await copied(plain);
    await m.sql(ddl);
    const failure = await failureOf(m.tick());
    expect(failure).toMatchObject({ code: 'SCHEMA_CHANGED', detail: { role } });
  });

  it('a new expression of a generated column of the source stops the lanes: it changes rows, and no trigger tells of it', async () => {
    const m = await copied({
      setup: `create table s (id int primary key, v int, g int generated always as (v + 1) stored);
              insert into s select g, g from generate_series(1, 50) g; create table t (id int primary key, v int, g int);`,
      expected: 'select id, v, g from s',
    });
    await m.sql('alter table s alter column g set expression as (v + 2)');
    expect(await failureOf(m.tick())).toMatchObject({ code: 'SCHEMA_CHANGED', detail: { role: 'source' } });
    await m.close();
    expect((await failureOf(m.cutOverWrites({ maxAttempts: 1 }))).code).toBe('SCHEMA_CHANGED');
  });
});

describe('sessions of ours', () => {
  it('read keys and texts alike whatever the defaults of the database: a key may be the text NULL', async () => {
    const m = await rig({
      setup: `create table s (id text primary key, v int);
              insert into s select k, 1 from unnest(array['A', 'NULL', 'Z']) k;
              create table t (id text primary key, v int);`,
      expected: 'select id, v from s',
      lanes: 2,
    });
    made.push(m);
    for (const setting of [
      'array_nulls = off',
      'standard_conforming_strings = off',
      'transform_null_equals = on',
    ])
      await m.sql(`alter database ${m.db.name} set ${setting}`);
    // those that are there do not have them
    await m.sql(`select pg_terminate_backend(pid) from pg_stat_activity
                  where datname = current_database() and application_name like 'foreshadow%'`);
    await sleep(50);
    await m.begin();
    await m.claim();
    await m.cutOverReads();
    await m.settle();
    await m.sql(
      `update s set v = 2 where id = 'NULL'; insert into s values ('null', 3); delete from s where id = 'A'`,
    );
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
    expect(await m.sql(`select id from t order by id`)).toHaveLength(3);
  });

  it.each([
    'alter database',
    'alter role',
  ])('P37: %s … set default_transaction_isolation to repeatable read changes nothing', async (what) => {
    const m = await rig({ ...plain, lanes: 1 });
    made.push(m);
    const on = what === 'alter role' ? 'alter role postgres in database' : 'alter database';
    await m.sql(`${on} ${m.db.name} set default_transaction_isolation = 'repeatable read'`);
    const { rows } = await m.db.ctx.pool.query('show transaction_isolation');
    expect(rows).toEqual([{ transaction_isolation: 'read committed' }]);
    await m.begin();
    await m.sql(`create table audit (isolation text);
        create function audit() returns trigger language plpgsql as
          $$ begin insert into public.audit values (current_setting('transaction_isolation')); return null; end $$;
        create trigger audit after insert or update or delete on foreshadow.t for each statement execute function audit()`);
    // A connection without our session settings: what the lane itself writes out must be enough.
    const lane = new Lane(m.laneOptions(0, { connect: () => m.db.client() }));
    m.lanes = [lane];
    await lane.claim();
    await m.cutOverReads();
    await m.sql('delete from s where id = 1');
    await settled(m);
    expect(await m.sql('select distinct isolation from audit')).toEqual([{ isolation: 'read committed' }]);
  });

  it('changes that waited while no process ran do not count as lag for ever', async () => {
    const m = await (await rig(plain)).begin();
    made.push(m);
    await m.sql('update s set v = 0 where id < 20');
    await sleep(300);
    let now = Date.now() / 1000;
    const lanes = new Lanes({
      ...m.lanesOptions(),
      clock: { now: () => now, sleep: (ms) => sleep(ms).then(() => undefined) },
    });
    await lanes.start();
    while ((await backlog(m.db.pool, m.plan)) > 0) await sleep(5);
    await sleep(50);
    expect(Math.max(...lanes.lags)).toBeGreaterThan(0.3);
    now += 60;
    expect(lanes.lags).toEqual([]);
    await lanes.stop();
  });

  it('a lane that was taken over does not write', async () => {
    const m = await shadowing({ ...plain, lanes: 1 });
    const [first] = m.lanes;
    await m.claim(); // the same lanes, claimed by others
    await m.cutOverReads();
    expect(await first!.tick()).toBe('taken over');
    expect(await m.sql(`select 1 from ${m.plan.names.target}`)).toEqual([]);
    await settled(m);
    await first!.close();
  });

  it('a lane whose claim was made, and only the answer lost, is still its own', async () => {
    const m = await (await rig({ ...plain, lanes: 1 })).begin();
    made.push(m);
    let lost = 0;
    const connect = async () => {
      const client = await m.db.ctx.connect('lane');
      const query = client.query.bind(client) as (...args: unknown[]) => Promise<unknown>;
      let claiming = false;
      client.query = (async (...args: unknown[]) => {
        const result = await query(...args);
        claiming ||= /set epoch = epoch \+ 1/.test(String(args[0]));
        if (claiming && args[0] === 'commit' && lost++ < 3) {
          await client.end();
          throw Object.assign(new Error('Connection terminated unexpectedly'), { code: 'ECONNRESET' });
        }
        return result;
      }) as unknown as typeof client.query;
      return client;
    };
    const lane = new Lane(m.laneOptions(0, { connect }));
    m.lanes = [lane];
    await lane.claim();
    expect(lost, 'a first claim is tried again').toBeGreaterThan(3);
    lost = 1;
    await m.sql(`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'foreshadow lane'`);
    await m.cutOverReads();
    const stop = new AbortController();
    const ending = lane.run(stop.signal);
    while (!(await m.copied())) await sleep(10);
    expect(lost, 'and so is a later one').toBeGreaterThan(3);
    stop.abort();
    expect(await ending).toBe('aborted');
  });

  it('a lane that hangs in its transaction is ended by the one that takes over, and nothing of it stays', async () => {
    const m = await shadowing({ ...plain, lanes: 1 });
    await m.cutOverReads();
    const [first] = m.lanes;
    // A writer of T's first row keeps the lane waiting in the middle of its transaction.
    const blocker = await m.db.client();
    await blocker.query(`begin; insert into ${m.plan.names.target} (id) values (1)`);
    const hanging = failureOf(first!.tick() as Promise<unknown>);
    await sleep(100);
    await m.claim();
    expect((await hanging).message).toMatch(/terminat/i);
    await blocker.query('rollback');
    await settled(m);
    await first!.close();
  });

  it('P36: back to SHADOWING and forth again, ranges are copied from the start', async () => {
    const m = await shadowing({ ...plain, lanes: 1, chunkRows: 30 });
    await m.cutOverReads();
    for (let i = 0; i < 4; i++) await m.tick();
    await m.inTransaction((client) => setLaneMode(client, m.plan, 'SHADOWING'));
    await m.sql(`delete from ${m.plan.names.target} where id between 20 and 40`); // as eviction does
    await m.sql('update s set v = v + 1 where id < 60');
    await m.settle();
    expect(await m.overlayDifferences()).toEqual([]);
    await m.inTransaction((client) => setLaneMode(client, m.plan, 'IN_PROGRESS'));
    expect(await m.copied()).toBe(false);
    await settled(m);
  });
});

describe('maps that are not one to one', () => {
  const halves = (v: string): RigOptions => ({
    setup: `create table s (id int primary key, v int); insert into s select g * 2, g from generate_series(1, 50) g;
            create table t (id int primary key, v int);`,
    file: { map: { id: 'id / 2', v } },
    expected: 'select id / 2, v from s',
    lanes: 1,
  });

  /** the row that breaks the map comes between preflight, which would see it, and the installation of capture */
  async function broken(options: RigOptions): Promise<Rig> {
    const m = await rig(options);
    made.push(m);
    await m.sql('insert into s values (5, 0)');
    await m.begin();
    await m.claim();
    await m.cutOverReads();
    return m;
  }

  it('P45: two rows of one chunk that meet in one key fail loudly', async () => {
    const m = await broken(halves('v'));
    expect((await failureOf(m.tick())).message).toMatch(/duplicate key/);
  });

  it('P45: two rows of different chunks that meet in one key are found by verification', async () => {
    const m = await broken({ ...halves('v'), chunkRows: 1 });
    await m.settle();
    const found = await verify(m.db.ctx.pool, m.plan, { clock: systemClock, repair: false });
    expect(found.different, 'both of them').toBe(2);
  });

  it('P45: a row that comes later and meets another in its key fails loudly', async () => {
    const m = await copied(halves('v'));
    await m.sql('insert into s values (5, 0)');
    const running = m.lanes[0]!.run(new AbortController().signal);
    await expect(running).rejects.toMatchObject({ code: 'MAP_FAILS' });
  });
});
