import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { failpoints } from '../../src/core/failpoint.ts';
import { uninstall } from '../../src/migration/abort.ts';
import { changePlaces } from '../../src/migration/cutover/writes.ts';
import { settleTarget } from '../../src/migration/finish-target.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { updateStatus } from '../../src/migration/status.store.ts';
import { describeMigration } from '../../src/migration/status.ts';
import { prepareWayBack } from '../../src/migration/way-back/prepare.ts';
import { rollbackExchange } from '../../src/migration/way-back/rollback.ts';
import { finalizeMigration, rollBackMigration } from '../../src/pipeline.ts';
import { Lanes } from '../../src/sync/lanes.ts';
import { foreshadow } from '../chaos/child.ts';
import { atTheSwap, differenceSql, type Rig, type RigOptions, rig } from '../chaos/rig.ts';
import { catalogueOf } from '../support/catalogue.ts';
import { failureOf, migrationDatabase, migrationOf } from '../support/migrations.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

/** int → bigint, text → numeric, one value split; a unique value beside the key, an identity, a generated column. */
const shop: RigOptions = {
  setup: `
    create table s (id int primary key, amount_cents int not null, name text unique, place text not null default 'x',
      n bigint generated always as identity, twice int generated always as (amount_cents * 2) stored);
    create index s_place on s (place);
    insert into s (id, amount_cents, name, place) select g, g * 7, 'n' || g, 'a-' || g from generate_series(1, 500) g;
    create table t (id bigint primary key, amount numeric(12, 2) not null, name text unique, area text, spot int,
      n bigint generated always as identity);`,
  file: {
    map: {
      id: 'id::bigint',
      amount: 'amount_cents / 100.0',
      area: `split_part(place, '-', 1)`,
      spot: `split_part(place, '-', 2)::int`,
    },
    back: { amount_cents: '(amount * 100)::int', place: `area || '-' || spot` },
  },
  expected: `select id::bigint, (amount_cents / 100.0)::numeric(12, 2), name, split_part(place, '-', 1), split_part(place, '-', 2)::int, n from s`,
};

/** What S must hold, from T as it is now, by hand. */
const restored = (t: string) =>
  `select id::int, (amount * 100)::int, name, area || '-' || spot, n, (amount * 100)::int * 2 from ${t}`;
const held = 'select id, amount_cents, name, place, n, twice from s';

/** Writes are cut over, the guard is gone; nobody keeps the old table in step yet. */
async function completed(options: RigOptions = shop): Promise<Rig> {
  const { m, lanes } = await atTheSwap(options, cleanups);
  await m.cutOverWrites();
  await lanes.stop();
  const { pool } = m.db.ctx;
  expect(await settleTarget(pool, m.migration, systemClock, async () => true)).toBe(true);
  await updateStatus(pool, m.migration.id, { settled_at: new Date() });
  await m.reload();
  return m;
}

async function backLanes(m: Rig): Promise<Lanes> {
  const { plan, stamp } = (await m.reload()).physical!.wayBack!;
  const lanes = new Lanes({ ...m.lanesOptions(), plan, stamp, lanes: 1 });
  await lanes.start();
  cleanups.push(() => lanes.stop());
  return lanes;
}

const rollBack = (m: Rig, attempts = 100) => rollBackMigration(m.db.ctx, 'm', { attempts });

const everything = `
  insert into s (id, amount, name, area, spot) values (901, 9.01, 'new', 'b', 1), (902, 9.02, null, 'b', 2);
  update s set amount = amount + 1 where id <= 50;
  update s set name = null, area = 'moved' where id = 60;
  update s set id = 2000 where id = 61;
  delete from s where id between 100 and 120;
  update s set name = 'passing' where id = 1;
  update s set name = 'n1' where id = 2;
  update s set name = 'n2' where id = 1;`;

describe('rollback', () => {
  it('gives the old table its place again, with every change that the new one has seen', async () => {
    const m = await completed();
    await m.sql(everything);
    const now = await m.sql(`select x::text as row from (${restored('s')}) x order by 1`);
    await rollBack(m);
    expect((await m.reload()).status).toBe('ROLLED_BACK');
    expect(await m.sql(`select x::text as row from (${held}) x order by 1`)).toEqual(now);
    expect(await m.sql(differenceSql(held, restored('t'))), 'the target keeps its rows').toEqual([]);
    expect(await m.sql('select * from foreshadow.route($1)', ['m'])).toMatchObject([
      { read_from: 's', write_to: 's' },
    ]);
    const [next] = await m.sql(
      `insert into s (id, amount_cents, name) values (3000, 1, 'later') returning n::int`,
    );
    expect(next, 'numbers go on').toEqual({ n: 503 });
  });

  it('is still open when a process that was stopped before the swap goes on to prepare it', async () => {
    const m = await completed();
    const now = await m.reload();
    const stopped = prepareWayBack(m.db.pool, { ...now, status: 'IN_PROGRESS' }, async () => {});
    expect(await failureOf(stopped)).toMatchObject({ code: 'CONFLICT' });
    expect((await m.reload()).physical).toEqual(now.physical);
    await updateStatus(m.db.pool, now.id, { wait_reason: 'of another state' }, 'ROLLED_BACK');
    expect((await m.reload()).wait_reason).toBeNull();
    await rollBack(m);
    expect((await m.reload()).status).toBe('ROLLED_BACK');
  });

  it('while five sessions write, loses nothing and adds nothing', async () => {
    const m = await completed({
      ...shop,
      setup: `${shop.setup} create table books (n bigint generated always as identity, id int, amount numeric);`,
    });
    const lanes = await backLanes(m);
    const stop = { now: false };
    const retried = ['40001', '40P01', '55P03'];
    let commits = 0;
    const writers = Array.from({ length: 5 }, async (_, w) => {
      const client = await m.db.client();
      for (let i = 0, moved = true; !stop.now; i++) {
        const id = 1 + ((i * 37 + w * 101) % 480);
        // the value is the same in either table, whatever its column is called there
        const [set, value] = moved
          ? ['amount = amount + 1', 'amount']
          : ['amount_cents = amount_cents + 100', 'amount_cents / 100.0'];
        try {
          await client.query(`begin isolation level ${['read committed', 'repeatable read'][w % 2]}`);
          await client.query(
            `with c as (update s set ${set} where id = ${id} returning id, ${value} as amount)
             insert into books (id, amount) select id, amount from c`,
          );
          await client.query('commit');
          commits += 1;
        } catch (error) {
          const { code } = error as { code: string };
          if (code === '42703') moved = false;
          else expect(retried).toContain(code);
          await client.query('rollback');
        }
        await sleep(5);
      }
      await client.end();
    });
    await sleep(400);
    const before = commits;
    await rollBack(m, 200);
    await sleep(200);
    stop.now = true;
    await Promise.all(writers);
    await lanes.stop();
    expect(before).toBeGreaterThan(20);
    expect(commits).toBeGreaterThan(before);
    expect(
      await m.sql(`select s.id, s.amount_cents, b.amount from s
        join (select distinct on (id) id, amount from books order by id, n desc) b using (id)
        where s.amount_cents <> b.amount * 100`),
    ).toEqual([]);
    expect(
      await m.sql(
        `select s.id from s left join books b using (id) where b.id is null and s.amount_cents <> s.id * 7`,
      ),
    ).toEqual([]);
    expect(await m.sql('select count(*)::int as n from s')).toEqual([{ n: 500 }]);
    const locks = (await describeMigration(m.db.pool, 'm')).locks.map(({ kind }) => kind);
    expect(locks).toEqual(expect.arrayContaining(['rollback-writers', 'rollback-readers']));
  });

  it('leaves the source as it was before the migration, down to the names of its indexes', async () => {
    // names that meet those of the target in our schema, and make way
    const db = await migrationDatabase(`${shop.setup} create schema other; alter table t set schema other;
      alter index other.t_pkey rename to s_pkey; alter index other.t_name_key rename to s_place;
      create sequence ticket; alter table s alter column amount_cents set default nextval('ticket');
      alter sequence ticket owned by s.amount_cents;`);
    const of = async () =>
      (await catalogueOf(db.pool, 'foreshadow')).filter((line) => /\b(s|ticket)\b|s_/.test(line));
    const before = (await of()).filter((line) => !/other\./.test(line));
    const file = migrationOf({ ...shop.file, target: 'other.t' });
    await db.run(file);
    expect((await of()).join()).toContain('capture');
    const other = migrationOf({ ...file, cutover: { ...file.cutover, finish: 'route' } });
    expect((await db.run(other)).status, 'what the file says by now is of no account').toBe('COMPLETED');
    await rollBackMigration(db.ctx, 'm', { attempts: 100 });
    expect((await of()).filter((line) => !/other\./.test(line))).toEqual(before);
    expect(await catalogueOf(db.pool, 'foreshadow')).not.toContainEqual(
      expect.stringContaining('foreshadow'),
    );
    const left = await db.pool.query(
      `select relname from pg_class where relnamespace = 'foreshadow'::regnamespace and relname ~ '_1(_back)?$'`,
    );
    expect(left.rows).toEqual([]);
    expect((await db.pool.query('select count(*)::int as n from other.t')).rows).toEqual([{ n: 500 }]);
    await expect(db.run(file)).rejects.toMatchObject({ code: 'CONFLICT' });
    await db.pool.query('insert into s (id, name) values (9000, null)');
  });

  it('brings back what is bound to the table: foreign keys, views, functions, triggers, statistics, a publication', async () => {
    const db = await migrationDatabase(`
      create table kind (kind int primary key); insert into kind values (1), (2);
      create table s (id int primary key, v int not null, kind int references kind, note text);
      insert into s select g, g, 1 + g % 2, 'n' || g from generate_series(1, 300) g;
      create table line (n int primary key, s_id int not null references s on delete cascade);
      insert into line select g, g from generate_series(1, 100) g;
      create view busy as select id, note from s where note is not null;
      create function notes() returns bigint language sql begin atomic select count(note) from s; end;
      create table audit (at timestamptz default now(), id bigint);
      create function audit() returns trigger language plpgsql as 'begin insert into public.audit (id) values (new.id); return null; end';
      create trigger audited after update on s for each row execute function audit();
      create statistics s_stat (dependencies) on v, kind from s;
      create publication p for table s;
      create table t (id bigint primary key, v numeric(12, 2) not null, kind int, note text);`);
    // the order of its rows in pg_publication_rel and the like is nobody's business, nor is T's own side
    const of = async () =>
      (await catalogueOf(db.pool, 'foreshadow')).filter(
        (line) => !/\bt(_\w+)?\b/.test(line.replace(/\bt\./g, '')),
      );
    const before = await of();
    await db.run(migrationOf({ map: { id: 'id::bigint', v: 'v::numeric(12, 2)' }, back: { v: 'v::int' } }));
    await db.pool.query(
      `update s set v = 5 where id = 7; delete from s where id = 9; insert into line values (500, 7)`,
    );
    await db.pool.query(`delete from kind where kind = 3`); // nothing of the old table is in its way
    expect(
      (await db.pool.query('select id from audit')).rows,
      'once, though lanes wrote the row too',
    ).toEqual([{ id: '7' }]);
    await rollBackMigration(db.ctx, 'm', { attempts: 100 });
    expect(await of()).toEqual(before);
    expect((await db.pool.query('select id from audit')).rows).toEqual([{ id: '7' }]);
    expect((await db.pool.query('select count(*)::int as n from line where s_id = 9')).rows).toEqual([
      { n: 0 },
    ]);
    expect((await db.pool.query('select count(*)::int as n, notes()::int as notes from busy')).rows).toEqual([
      { n: 299, notes: 299 },
    ]);
    expect(await failureOf(db.pool.query('insert into line values (501, 9)'))).toMatchObject({
      code: '23503',
    });
  });

  it('a lost answer to its COMMIT: the status row tells', async () => {
    const m = await completed();
    await m.sql(everything);
    const lanes = await backLanes(m);
    const exchange = await rollbackExchange(m.db.pool, await m.reload());
    const rolledBack = await changePlaces(exchange, {
      pool: m.db.ctx.pool,
      clock: systemClock,
      maxAttempts: 50,
      onWait: async () => {},
      connect: async () => {
        const client = await m.db.ctx.connect('rollback');
        const query = client.query.bind(client);
        let moved = false;
        client.query = ((...args: Parameters<typeof query>) => {
          const [text] = args as unknown[];
          moved ||= String(text).includes('update foreshadow.migration_status set status');
          if (text !== 'commit' || !moved) return query(...args);
          return (query as (sql: string) => Promise<unknown>)('commit').then(() => {
            throw Object.assign(new Error('Connection terminated unexpectedly'), { code: 'ECONNRESET' });
          });
        }) as typeof client.query;
        return client;
      },
    });
    expect(rolledBack.status).toBe('ROLLED_BACK');
    await lanes.stop();
    expect(await m.sql(`select amount_cents from s where id = 901`)).toEqual([{ amount_cents: 901 }]);
  });

  it('goes on after a kill at each of its steps', async () => {
    const m = await completed();
    await m.sql(everything);
    const now = await m.sql(`select x::text as row from (${restored('s')}) x order by 1`);
    const models = m.db.ctx.config.modelsDir;
    const steps = failpoints.filter(
      (name) => /^(cutover|settle)\./.test(name) && name !== 'cutover.committed',
    );
    const before = steps.filter((name) => name.startsWith('cutover.'));
    const after = steps.filter((name) => name.startsWith('settle.'));
    const killedAt = async (name: string) => {
      process.env.FORESHADOW_FAILPOINTS = `${name}=kill`;
      const child = foreshadow(m.db.url, models, 'rollback', 'm', '--attempts', '20');
      delete process.env.FORESHADOW_FAILPOINTS;
      expect(await child.ended, `${name}: ${child.output.stderr}`).toBeNull();
      expect(child.output.stderr).toContain(`failpoint ${name}: kill`);
      return (await m.reload()).status;
    };
    for (const name of before) expect(await killedAt(name), name).toBe('COMPLETED');
    expect(await killedAt('cutover.committed')).toBe('ROLLED_BACK');
    for (const name of after) expect(await killedAt(name), name).toBe('ROLLED_BACK');
    await rollBack(m);
    expect((await m.reload()).settled_at).not.toBeNull();
    expect(await m.sql(`select x::text as row from (${held}) x order by 1`)).toEqual(now);
    expect(
      (await catalogueOf(m.db.pool, 'foreshadow')).filter((line) => line.includes('foreshadow')),
    ).toEqual([]);
  }, 300_000);
});

describe('the way back', () => {
  it('that is not there is said beforehand, and refused by name with nothing touched', async () => {
    const partial: RigOptions = { ...shop, file: { ...shop.file, back: { place: `area || '-' || spot` } } };
    const m = await completed(partial);
    const reasons = ['nothing in the target gives these columns of the source back: amount_cents'];
    expect(m.plan.noWayBack).toEqual(reasons);
    expect((await describeMigration(m.db.pool, 'm')).way_back).toEqual({
      open: false,
      reasons,
      behind: null,
    });
    const before = [await catalogueOf(m.db.pool), await m.sql('select * from s order by id')];
    const refused = await failureOf(rollBack(m));
    expect(refused).toMatchObject({ code: 'NO_WAY_BACK', exitCode: 3 });
    expect(refused.message).toContain('amount_cents');
    expect([await catalogueOf(m.db.pool), await m.sql('select * from s order by id')]).toEqual(before);
    expect((await m.reload()).status).toBe('COMPLETED');
    const triggers = await m.sql(
      `select tgname from pg_trigger where tgrelid = 's'::regclass and not tgisinternal`,
    );
    expect(triggers).toEqual([]);
  });

  it.each([
    [
      'a back map that restores another row',
      { amount_cents: '(amount * 10)::int' },
      /does not restore rows 1; 2/,
    ],
    [
      'a back map that fails',
      { amount_cents: 'name::int' },
      /fails on rows of public\.s: invalid input syntax/,
    ],
    ['a back map that loses the key', { id: '1' }, /does not restore rows/],
  ])('is not there with %s', async (_title, back, message) => {
    const db = await migrationDatabase(shop.setup);
    const { checks, draft } = await preflight(
      db.pool,
      migrationOf({ ...shop.file, back: { ...shop.file?.back, ...back } }),
    );
    expect(checks.find((check) => check.id === 'way back')).toMatchObject({
      status: 'warn',
      message: expect.stringMatching(message),
    });
    expect(draft?.wayBack).toBeNull();
  });

  it('closes when a row that came later is not restored', async () => {
    const m = await (await rig(shop)).begin();
    cleanups.push(() => m.close());
    await m.claim();
    await m.cutOverReads();
    await m.sql(`insert into s (id, amount_cents, name, place) values (700, 7, null, 'b-07')`); // comes back as b-7
    await m.settle();
    await m.finish();
    const { way_back } = await describeMigration(m.db.pool, 'm');
    expect(way_back).toEqual({
      open: false,
      reasons: ['the back map does not restore rows 700'],
      behind: null,
    });
  });

  it('keeps the old table in step, and its key log bounded, through many changes', async () => {
    const m = await completed();
    const lanes = await backLanes(m);
    const log = m.migration.physical!.wayBack!.plan.names.keyLog;
    const size = async () =>
      (await m.sql<{ n: number }>(`select pg_total_relation_size('${log}')::int as n`))[0]!.n;
    const before = await size();
    for (let i = 0; i < 120; i++) await m.sql('update s set amount = amount + 1');
    const deadline = performance.now() + 30_000;
    while ((await describeMigration(m.db.pool, 'm')).way_back.behind && performance.now() < deadline)
      await sleep(50);
    expect(lanes.totals.taken).toBe(60_000);
    expect(await size()).toBeLessThan(before + 12_000_000); // 60,000 rows would take more than twice that
    expect(
      await m.sql(
        differenceSql('select id, amount_cents, name, place, n, twice from foreshadow.s_old', restored('s')),
      ),
    ).toEqual([]);
    expect(await m.sql(`select 1 from foreshadow.change_event_${m.plan.migrationId}_back limit 1`)).toEqual(
      [],
    );
  });

  it('is barred by rows that the old table cannot hold, never the application, and opens when they are mended', async () => {
    const m = await completed();
    await m.sql(`insert into s (id, amount, area, spot) values (3000000000, 1, 'far', 1)`);
    const refused = await failureOf(rollBack(m));
    expect(refused.message).toMatch(/integer out of range/);
    expect((await describeMigration(m.db.pool, 'm')).error).toMatchObject({ code: 'MAP_FAILS' });
    expect((await m.reload()).status).toBe('COMPLETED');
    await m.sql('update s set id = 3000 where id = 3000000000');
    await rollBack(m);
    expect(await m.sql('select id, amount_cents from s where id = 3000')).toEqual([
      { id: 3000, amount_cents: 100 },
    ]);
  });

  it('is barred by a key that the old table would not find again', async () => {
    const m = await completed({
      setup: `create table s (id text primary key, v int); insert into s select 'k' || g, g from generate_series(1, 100) g;
              create table t (id text primary key, v bigint);`,
      file: { map: { id: 'lower(id)', v: 'v::bigint' }, back: { id: 'id' } },
      expected: 'select lower(id), v::bigint from s',
    });
    await m.sql(`insert into s values ('K900', 900); delete from s where id = 'k3'`);
    const refused = await failureOf(rollBack(m));
    expect(refused).toMatchObject({ code: 'MAP_FAILS', message: expect.stringMatching(/another key.*K900/) });
    await m.sql(`update s set id = 'k900' where id = 'K900'`);
    await rollBack(m);
    expect(await m.sql(`select id from s where v in (3, 900)`)).toEqual([{ id: 'k900' }]);
  });

  it('keeps the next migration of the table waiting until it is finalized', async () => {
    const m = await completed();
    await m.sql('drop view t; create table t2 (like s including all)');
    const next = migrationOf({ name: 'next', target: 'public.t2' });
    expect(await failureOf(m.db.run(next, { until: 'PLANNED' }))).toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('can still be rolled back'),
    });
    await finalizeMigration(m.db.ctx, 'm', { dropOld: true });
    expect((await m.db.run(next)).status).toBe('COMPLETED');
  });

  it('refuses to truncate the new table while it is open', async () => {
    const m = await completed();
    const refused = await failureOf(m.sql('truncate s'));
    expect(refused).toMatchObject({ code: '55000', hint: expect.stringContaining('foreshadow finalize m') });
  });

  it('says when nobody keeps the old table in step', async () => {
    const m = await completed();
    await m.sql('update s set amount = amount + 1');
    const status = await describeMigration(m.db.pool, 'm', { rows: 100, bytes: 2 ** 30, seconds: 60 });
    expect(status.way_back).toEqual({ open: true, reasons: [], behind: 500 });
    expect(status.warnings).toEqual([
      { kind: 'key-log-size', message: expect.stringContaining('the old table is not kept in step') },
    ]);
  });
});

describe('where both tables keep their names', () => {
  const route: RigOptions = { ...shop, file: { ...shop.file, cutover: { finish: 'route' } } };

  it('lanes write the old table, others may not; after the rollback it is the other way round', async () => {
    const m = await completed(route);
    await m.sql(everything.replaceAll(/\b(into|update|from) s\b/g, '$1 t'));
    expect(await failureOf(m.sql('update s set place = null'))).toMatchObject({ code: '40001' });
    const now = await m.sql(`select x::text as row from (${restored('t')}) x order by 1`);
    await rollBack(m);
    expect(await m.sql(`select x::text as row from (${held}) x order by 1`)).toEqual(now);
    expect(await m.sql('select * from foreshadow.route($1)', ['m'])).toMatchObject([
      { read_from: 's', write_to: 's' },
    ]);
    expect(await failureOf(m.sql('update t set spot = null'))).toMatchObject({ code: '40001' });
    await m.sql(`update s set name = 'free' where id = 5`);
  });
});

describe('finalize', () => {
  const finalize = (m: Rig, dropOld = false) => finalizeMigration(m.db.ctx, 'm', { dropOld });

  it('ends the way back and keeps the old table, until told to drop it', async () => {
    const m = await completed();
    const lanes = await backLanes(m);
    await m.sql(everything);
    expect(await finalize(m)).toMatchObject({ kept: 'foreshadow.s_old', dropped: null });
    await lanes.stop();
    expect((await m.reload()).status).toBe('FINALIZED');
    expect(
      (await catalogueOf(m.db.pool, 'foreshadow')).filter((line) => line.includes('foreshadow')),
    ).toEqual([]);
    expect(await failureOf(rollBack(m))).toMatchObject({ code: 'CONFLICT' });
    expect(await m.sql('select count(*)::int as n from foreshadow.s_old')).toHaveLength(1);
    const { pool } = m.db.ctx;
    const uninstalling = uninstall(pool, { clock: systemClock, grace: 0, dropOldTables: false });
    expect((await failureOf(uninstalling)).message).toContain('foreshadow.s_old');
    expect(await finalize(m, true)).toMatchObject({ kept: null, dropped: 'foreshadow.s_old' });
    expect(await m.sql(`select to_regclass('foreshadow.s_old') as old`)).toEqual([{ old: null }]);
    expect(await finalize(m, true)).toMatchObject({ kept: null, dropped: null });
    await uninstall(pool, { clock: systemClock, grace: 0, dropOldTables: false });
    await m.sql(`insert into s (id, amount) values (4000, 1)`);
  });

  it('names what depends on the old table, and keeps it', async () => {
    const m = await completed();
    await m.sql('create view report as select * from foreshadow.s_old');
    const refused = await failureOf(finalize(m, true));
    expect(refused).toMatchObject({
      code: 'DEPENDENT_REFUSED',
      message: expect.stringMatching(/view (public\.)?report/),
    });
    expect((await m.reload()).status).toBe('FINALIZED');
  });

  it('is refused before the write cutover', async () => {
    const m = await (await rig(shop)).begin();
    expect(await failureOf(finalize(m))).toMatchObject({ code: 'CONFLICT' });
  });

  it('uninstalling while there is a way back leaves the application alone', async () => {
    const m = await completed();
    await uninstall(m.db.ctx.pool, { clock: systemClock, grace: 0, dropOldTables: true });
    await m.sql(`insert into s (id, amount) values (4000, 1)`);
    expect((await catalogueOf(m.db.pool)).filter((line) => line.includes('foreshadow'))).toEqual([]);
  });
});
