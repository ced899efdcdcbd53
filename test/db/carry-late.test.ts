import { afterEach, expect, test } from 'vitest';
import { abort } from '../../src/migration/abort.ts';
import { atTheSwap, type RigOptions } from '../chaos/rig.ts';
import { catalogueOf } from '../support/catalogue.ts';
import { failureOf, migrationDatabase, migrationOf } from '../support/migrations.ts';

const tables = `
  create table s (id int primary key, n int not null, tag text); create table t (id bigint primary key, n int not null, tag text);
  insert into s select i, i, 'x' from generate_series(1, 100) i; create table child (s_id int);`;
const byHand = migrationOf({ cutover: { writes: 'operator' } });

test('what comes to depend on the source while it migrates goes along too', async () => {
  const db = await migrationDatabase(tables);
  await db.run(byHand, { until: 'IN_PROGRESS' });
  await db.pool.query(
    'create view seen as select id, n from s; alter table child add constraint late foreign key (s_id) references s; insert into child values (3)',
  );
  expect((await db.run(migrationOf())).status).toBe('COMPLETED');
  await db.pool.query('delete from s where id = 100');
  const { rows } = await db.pool.query('select count(*)::int as n from seen');
  expect(rows).toEqual([{ n: 99 }]);
  await expect(db.pool.query('delete from s where id = 3')).rejects.toThrow(/"late" on table "child"/);
  await expect(db.pool.query('insert into child values (100)')).rejects.toThrow(/"late"/);
});

test('indexes of the source go along whenever they come, also while the operator is waited for', async () => {
  const db = await migrationDatabase(tables);
  await db.run(byHand, { until: 'IN_PROGRESS' });
  await db.pool.query('create index s_copying on s (n)');
  const enough = new AbortController();
  const late: Promise<unknown>[] = [];
  const interrupted = await failureOf(
    db.run(byHand, {
      signal: enough.signal,
      onEvent: (event) => {
        if (event.type !== 'wait' || !/waiting for the operator/.test(event.reason)) return;
        if (late.length) enough.abort();
        else late.push(db.pool.query('alter table s add constraint s_ready unique (n, tag)'));
      },
    }),
  );
  expect(interrupted).toMatchObject({ code: 'INTERRUPTED' });
  await Promise.all(late);
  await db.pool.query('create index s_last on s (lower(tag)) where n > 3');
  expect((await db.run(migrationOf())).status).toBe('COMPLETED');
  const { rows } = await db.pool.query<{ name: string }>(
    `select indexname as name from pg_indexes where schemaname = 'public' and tablename = 's' order by 1`,
  );
  expect(rows.map(({ name }) => name)).toEqual(['s_copying', 's_last', 's_ready', 't_pkey']);
  await expect(db.pool.query("insert into s values (1000, 5, 'x')")).rejects.toThrow(/"s_ready"/);
});

test('what cannot go along stops the swap by name, and nothing is lost', async () => {
  const db = await migrationDatabase(tables);
  await db.run(byHand, { until: 'IN_PROGRESS' });
  await db.pool.query('create materialized view kept as select n from s');
  const error = await failureOf(db.run(migrationOf()));
  expect(error).toMatchObject({
    code: 'DEPENDENT_REFUSED',
    message: expect.stringMatching(
      /materialized view public\.kept depends on it, and came after the migration began/,
    ),
  });
  await db.pool.query('drop materialized view kept');
  expect((await db.run(migrationOf())).status).toBe('COMPLETED');
});

test('abort before the write cutover leaves all that is bound to the source as it was', async () => {
  const db = await migrationDatabase(`${tables}
    create view seen as select id, n from s; alter table child add foreign key (s_id) references s; create statistics st on n, tag from s;
    create function pass() returns trigger language plpgsql as 'begin return new; end'; create trigger mine before insert on s for each row execute function pass();
    create policy own on s using (n > 0); alter table s enable row level security, replica identity full, set (fillfactor = 70); create publication p for table s;
    create function total() returns bigint language sql begin atomic select sum(n) from s; end; grant select on s to public;`);
  const before = await catalogueOf(db.pool, 'foreshadow');
  await db.run(byHand, { until: 'IN_PROGRESS' });
  await abort(db.ctx.pool, 'm', { clock: db.ctx.clock, grace: 0 });
  expect(await catalogueOf(db.pool, 'foreshadow')).toEqual(before);
});

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

const small: RigOptions = {
  setup: `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 100) g;
          create table t (id bigint primary key, v int);`,
  expected: 'select id::bigint, v from s',
};

test('a view that comes while the locks are taken is seen, and the next try takes it along', async () => {
  const { m } = await atTheSwap(small, cleanups);
  const waits: string[] = [];
  let late = false;
  await m.cutOverWrites({
    onWait: async (reason) => void waits.push(reason),
    connect: async () => {
      const client = await m.db.ctx.connect('cutover');
      const query = client.query.bind(client) as (...args: unknown[]) => Promise<unknown>;
      client.query = (async (...args: unknown[]) => {
        const answer = await query(...args);
        if (/^lock table .* in exclusive mode$/.test(String(args[0])) && !late) {
          late = true;
          await m.sql('create view seen as select id from s');
        }
        return answer;
      }) as unknown as typeof client.query;
      return client;
    },
  });
  expect(waits.join('\n')).toMatch(/what depends on "public"\."s" has just changed/);
  await m.sql('delete from s where id = 7');
  expect(await m.sql('select count(*)::int as n from seen')).toEqual([{ n: 99 }]);
});

test('an index that nobody has built on the target stops the swap by name, and is built by the next run', async () => {
  const { m } = await atTheSwap(small, cleanups);
  await m.sql('create unique index s_late on s (v)');
  expect(await failureOf(m.cutOverWrites())).toMatchObject({
    code: 'DEPENDENT_REFUSED',
    message: expect.stringMatching(/"public"\."s": index s_late came after .* run the migration again/),
  });
  await m.finish();
  await m.cutOverWrites();
  await expect(m.sql('insert into s values (1000, 5)')).rejects.toThrow(/"s_late"/);
});
