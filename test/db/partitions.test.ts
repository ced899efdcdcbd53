import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { abort } from '../../src/migration/abort.ts';
import { finishTarget } from '../../src/migration/finish-target.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { rollBackMigration } from '../../src/pipeline.ts';
import { rig } from '../chaos/rig.ts';
import { catalogueOf } from '../support/catalogue.ts';
import {
  expectRefusal,
  failureOf,
  type MigrationDatabase,
  migrationDatabase,
  migrationOf,
} from '../support/migrations.ts';
import { describeOlder, olderServer } from '../support/older-server.ts';

const source = `create table s (id int primary key, v int, w text);
  insert into s select g, g % 10, 'w' || g from generate_series(1, 2000) g; create index s_v on s (v); analyze s;`;
const hashed = `create table t (id bigint primary key, v int, w text) partition by hash (id);
  create table t_0 partition of t for values with (modulus 2, remainder 0);
  create table t_1 partition of t for values with (modulus 2, remainder 1);`;
const file = { map: { id: 'id::bigint' } };

describe('a partitioned target', () => {
  it.each([
    ['no partition', hashed.split('\n')[0]!, /has no partition/],
    [
      'partitions of partitions',
      `${hashed.split('\n')[0]} create table t_0 partition of t for values with (modulus 1, remainder 0) partition by hash (id)`,
      /partition public\.t_0 is not a plain table/,
    ],
    [
      'a trigger on one',
      `${hashed} create function f() returns trigger language plpgsql as 'begin return new; end';
       create trigger hello before insert on t_1 for each row execute function f()`,
      /partition public\.t_1 has trigger hello/,
    ],
    ['row security on one', `${hashed} alter table t_0 enable row level security`, /t_0 has row security/],
    ['a unique index on one', `${hashed} create unique index alone on t_0 (w)`, /t_0 has unique index alone/],
    [
      'a second unique index',
      `${hashed} create unique index second on t (id, w)`,
      /unique index second beside its key/,
    ],
    [
      'rows that belong to none of them',
      `create table t (id bigint primary key, v int, w text) partition by range (id);
       create table t_0 partition of t for values from (1) to (1999)`,
      /1999: no partition of relation .*; 2000: no partition/,
    ],
  ])('with %s is refused by name, and nothing is touched', async (title, target, message) => {
    const db = await migrationDatabase(`${source} ${target}`);
    const code = title.startsWith('rows') ? 'MAP_FAILS' : 'DEPENDENT_REFUSED';
    await expectRefusal(db, file, code, message);
  });

  it('is refused where the source is identified by a unique index that it cannot take over', async () => {
    const db = await migrationDatabase(`${source} ${hashed} alter table s alter w set not null;
      create unique index s_w on s (w); alter table s replica identity using index s_w;`);
    await expectRefusal(
      db,
      file,
      'DEPENDENT_REFUSED',
      /its replica identity is index s_w, which the new table has no match for/,
    );
  });

  it('whose key is not made of the source key is refused', async () => {
    const db = await migrationDatabase(`${source}
      create table t (id bigint, v int not null, w text, primary key (id, v)) partition by hash (v);
      create table t_0 partition of t for values with (modulus 1, remainder 0);`);
    await db.pool.query('alter table s alter v set not null');
    await expectRefusal(db, file, 'NO_KEY', /comes from \[id\] alone/);
  });

  it('says which unique indexes of the source nothing will stand for', async () => {
    const db = await migrationDatabase(`${source} ${hashed} create unique index s_w on s (w);`);
    const { checks, error } = await preflight(db.ctx.pool, migrationOf(file));
    expect(error).toBe(null);
    expect(checks.filter(({ id }) => id === 'partitions')).toMatchObject([
      { status: 'warn', message: 'unique indexes that nothing stands for after the swap: s_w' },
    ]);
  });

  it('by range is rolled back, with all that was written through it and through its partitions', async () => {
    const ranged = `create table t (id bigint primary key, v int, w text) partition by range (id);
      create table t_0 partition of t for values from (minvalue) to (1000);
      create table t_1 partition of t for values from (1000) to (maxvalue);`;
    const db = await migrationDatabase(`${source} ${ranged}`);
    // the target keeps what it was given: its partitions, and an index that has made room for the source's
    const of = async () =>
      (await catalogueOf(db.pool, 'foreshadow')).filter(
        (line) => !/\b(t(_\w+)?|s_v1)\b/.test(line.replace(/\bt\./g, '')),
      );
    const before = await of();
    expect((await db.run(migrationOf(file))).status).toBe('COMPLETED');
    await db.pool.query(`
      insert into s values (5000, 1, 'new'); update s set v = v + 100 where id <= 50;
      update s set id = 3000 where id = 60; delete from s where id between 100 and 120;
      update t_1 set w = 'direct' where id = 1500; delete from t_0 where id = 7;`);
    const now = `select x::text as row from (select id::int, v, w from s) x order by 1`;
    const { rows: expected } = await db.pool.query(now);
    for (const table of ['s', 't_0', 't_1'])
      await expect(db.pool.query(`truncate ${table}`), table).rejects.toThrow(/TRUNCATE|truncate/);
    await rollBackMigration(db.ctx, 'm', { attempts: 100 });
    expect((await db.pool.query(now)).rows).toEqual(expected);
    const { rows: filled } = await db.pool.query(
      'select (select count(*)::int from t_0) as low, (select count(*)::int from t_1) as high, (select count(*)::int from t) as all',
    );
    expect(filled).toEqual([{ low: 999 - 21 - 1 - 1, high: 1001 + 2, all: 999 - 23 + 1003 }]);
    expect(await of()).toEqual(before);
    expect(await catalogueOf(db.pool, 'foreshadow')).not.toContainEqual(
      expect.stringContaining('foreshadow'),
    );
  }, 60_000);

  it.each([
    ['a partition is detached', 'alter table s detach partition t_1'],
    [
      'the triggers of one are switched off and on',
      'alter table t_0 disable trigger user; alter table t_0 enable trigger user',
    ],
  ])(
    'is not rolled back when %s meanwhile: rows would come back, or be missing',
    async (_title, sql) => {
      const db = await migrationDatabase(`${source} ${hashed}`);
      expect((await db.run(migrationOf(file))).status).toBe('COMPLETED');
      await db.pool.query(sql);
      const error = await failureOf(rollBackMigration(db.ctx, 'm', { attempts: 20 }));
      expect(error).toMatchObject({ code: 'CAPTURE_BROKEN' });
      const { rows } = await db.pool.query(
        `select status, (select count(*)::int from foreshadow.s_old) as old from foreshadow.migration_status`,
      );
      expect(rows).toEqual([{ status: 'COMPLETED', old: 2000 }]);
    },
    60_000,
  );

  it('goes back as it was on abort, indexes that were built on partitions included', async () => {
    const m = await rig({ setup: `${source} ${hashed}`, file, expected: 'select id::bigint, v, w from s' });
    const before = await catalogueOf(m.db.pool, 'foreshadow');
    await m.begin();
    await m.claim();
    await m.cutOverReads();
    while (!(await m.copied())) await m.tick();
    expect(await m.targetDifferences()).toEqual([]);
    // killed after the first partition's index
    await m.sql(`create index concurrently "t_0_s_v" on t_0 using btree (v)`);
    await m.close();
    await abort(m.db.ctx.pool, m.migration.name, { clock: systemClock, grace: 0 });
    expect(await catalogueOf(m.db.pool, 'foreshadow')).toEqual(before);
    expect(await m.sql('select * from t')).toEqual([]);
  });

  it('takes up the building of indexes where it was left, one partition after the other', async () => {
    const m = await rig({ setup: `${source} ${hashed}`, file, expected: 'select id::bigint, v, w from s' });
    await m.begin();
    await m.claim();
    await m.cutOverReads();
    while (!(await m.copied())) await m.tick();
    await m.sql(`create index concurrently "t_1_s_v" on t_1 using btree (v)`);
    // a build that was cut off leaves an index that is not valid
    await m.sql(`update pg_index set indisvalid = false where indexrelid = 't_1_s_v'::regclass`);
    await m.finish();
    await finishTarget(m.db.ctx.pool, await m.reload(), { clock: systemClock, onStep: async () => {} });
    const built = await m.sql(
      `select i.relname as name, x.indisvalid as valid from pg_index x join pg_class i on i.oid = x.indexrelid
        where x.indrelid in ('foreshadow.t'::regclass, 't_0'::regclass, 't_1'::regclass) and not x.indisunique order by 1`,
    );
    expect(built).toEqual([
      { name: 'foreshadow_1_carried_1', valid: true },
      { name: 't_0_s_v', valid: true },
      { name: 't_1_s_v', valid: true },
    ]);
    await m.close();
  });

  it('that has no partition for a row inserted later stops the copy by that name, and the source is whole', async () => {
    const m = await rig({
      setup: `${source} create table t (id bigint primary key, v int, w text) partition by range (id);
              create table t_0 partition of t for values from (1) to (5000);`,
      file,
      expected: 'select id::bigint, v, w from s',
    });
    await m.begin();
    await m.claim();
    await m.cutOverReads();
    while (!(await m.copied())) await m.tick();
    await m.sql('insert into s values (7000, 1, null)');
    const failure = await failureOf(m.tick());
    // what a lane that runs by itself reports as MAP_FAILS
    expect(failure).toMatchObject({
      code: '23514',
      message: expect.stringContaining('no partition of relation'),
    });
    expect(await m.overlayDifferences()).toEqual([]);
    await m.sql('create table t_1 partition of foreshadow.t for values from (5000) to (9000)');
    await m.close();
    await m.claim();
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
    await m.close();
  });
});

/** Bound to the source in every way that the swap takes along. */
const bound = `create table parent (id int primary key); insert into parent select generate_series(0, 9);
  alter table s add constraint s_parent foreign key (v) references parent;
  create table child (s int references s on delete cascade); insert into child values (7), (8);
  create view seen as select id, w from s where v = 3;
  create function loud() returns trigger language plpgsql as 'begin new.w := upper(new.w); return new; end';
  create trigger loud before insert or update on s for each row execute function loud();
  create publication news for table s;
  create statistics s_stat (dependencies) on v, w from s;
  grant select on s to public;`;
const plainKey = hashed.replace('bigint', 'int');

describe('what is bound to the source goes along to a partitioned target', () => {
  it('foreign keys, views, triggers, publications and all', async () => {
    const db = await migrationDatabase(`${source} ${bound} ${plainKey}`);
    expect(await db.run(migrationOf())).toMatchObject({ status: 'COMPLETED' });
    await db.pool.query("insert into s values (5000, 3, 'new'); delete from s where id = 7");
    const { rows } = await db.pool.query(
      `select (select relkind from pg_class where oid = 's'::regclass) as kind, (select count(*)::int from child) as children,
              (select w from seen where id = 5000) as seen,
              (select count(*)::int from pg_constraint where contype = 'f' and convalidated and conparentid = 0
                  and (conrelid = 's'::regclass or confrelid = 's'::regclass)) as keys,
              (select count(*)::int from pg_publication_tables where pubname = 'news') as published,
              (select count(*)::int from pg_statistic_ext where stxrelid = 's'::regclass) as statistics`,
    );
    expect(rows).toEqual([{ kind: 'p', children: 1, seen: 'NEW', keys: 2, published: 2, statistics: 1 }]);
    expect(await failureOf(db.pool.query("insert into s values (5001, 77, 'no')"))).toMatchObject({
      code: '23503',
    });
    expect(await failureOf(db.pool.query('insert into child values (99999)'))).toMatchObject({
      code: '23503',
    });
  });
});

describe('settings of the source go to the partitions, which hold the rows', () => {
  const settings = async (db: MigrationDatabase) =>
    (
      await db.pool.query(
        `select c.relname as name, c.relreplident as identity, c.reloptions as options, t.reloptions as toast, i.relname as "clustered"
           from pg_class c left join pg_class t on t.oid = c.reltoastrelid
           left join pg_index x on x.indrelid = c.oid and x.indisclustered left join pg_class i on i.oid = x.indexrelid
          where c.relname in ('s', 't_0', 't_1') and c.relnamespace = 'public'::regnamespace order by 1`,
      )
    ).rows;

  it('storage parameters, the index of CLUSTER and replica identity', async () => {
    const db = await migrationDatabase(`${source} ${hashed}
      alter table s set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_enabled = false);
      alter table s cluster on s_v; alter table s replica identity full;
      alter table s alter v set statistics 500, alter v set (n_distinct = 7), alter w set storage external, alter w set compression pglz;
      alter table t_1 set (fillfactor = 50, toast.autovacuum_enabled = true); alter table t_1 replica identity nothing;`);
    expect(await db.run(migrationOf(file))).toMatchObject({ status: 'COMPLETED' });
    const rest = 'autovacuum_vacuum_scale_factor=0.01';
    expect(await settings(db)).toEqual([
      { name: 's', identity: 'f', options: null, toast: null, clustered: null },
      {
        name: 't_0',
        identity: 'f',
        options: ['fillfactor=70', rest],
        toast: ['autovacuum_enabled=false'],
        clustered: 't_0_s_v',
      },
      {
        name: 't_1',
        identity: 'n',
        options: ['fillfactor=50', rest],
        toast: ['autovacuum_enabled=true'],
        clustered: 't_1_s_v',
      },
    ]);
  });

  it('a replica identity by index is that of each partition', async () => {
    const db = await migrationDatabase(
      `${source} ${hashed} alter table s replica identity using index s_pkey; create publication news for table s;`,
    );
    expect(await db.run(migrationOf(file))).toMatchObject({ status: 'COMPLETED' });
    expect((await settings(db)).map(({ identity }) => identity)).toEqual(['i', 'i', 'i']);
    await db.pool.query('update s set v = 0 where id < 10');
  });
});

describeOlder('a partitioned target on an older server', () => {
  it('cannot go on as an identity, and is refused if it would have to', async () => {
    const server = await olderServer();
    const identity = source.replace('id int', 'id int generated by default as identity');
    const db = await migrationDatabase(`${identity} ${hashed}`, server);
    await expectRefusal(db, file, 'DEPENDENT_REFUSED', /"id" cannot go on as an identity/);
    await db.pool.query('alter table s alter id drop identity');
    expect(await db.run(migrationOf(file))).toMatchObject({ status: 'COMPLETED' });
    expect(
      (await db.pool.query('select count(*)::int as n, count(distinct tableoid)::int as parts from s')).rows,
    ).toEqual([{ n: 2000, parts: 2 }]);
  });

  it('refuses a foreign key of the source, which could not be added without looking at every row', async () => {
    const server = await olderServer();
    const db = await migrationDatabase(`${source} ${bound} ${plainKey}`, server);
    await expectRefusal(db, {}, 'DEPENDENT_REFUSED', /foreign key s_parent/);
    await db.pool.query('alter table s drop constraint s_parent');
    expect(await db.run(migrationOf())).toMatchObject({ status: 'COMPLETED' });
    expect(await failureOf(db.pool.query('insert into child values (99999)'))).toMatchObject({
      code: '23503',
    });
  });
});
