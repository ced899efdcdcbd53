import { expect, test } from 'vitest';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';

const file = migrationOf({ cutover: { finish: 'route' } });
const tables = `
  create table parent (id int primary key); insert into parent select generate_series(1, 60);
  create table s (id int primary key, n int constraint to_parent references parent, up int);
  create table t (id bigint primary key, n int, up bigint);
  insert into s select i, i, nullif(i / 2, 0) from generate_series(1, 60) i;`;

test('route: foreign keys follow the new table to its own name, policies and settings are copied', async () => {
  const db = await migrationDatabase(`${tables}
    create table child (s_id int constraint to_s references s on delete cascade); insert into child select 50;
    alter table s add constraint to_self foreign key (up) references s deferrable;
    create policy own on s using (n > 0); alter table s enable row level security; alter table s set (fillfactor = 70), replica identity full;`);
  expect((await db.run(file)).status).toBe('COMPLETED');
  const { rows } = await db.pool.query<{ key: string }>(
    `select conname || ' ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated as key
       from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace order by 1`,
  );
  expect(rows.map(({ key }) => key)).toEqual([
    'to_parent t FOREIGN KEY (n) REFERENCES parent(id) true',
    'to_s child FOREIGN KEY (s_id) REFERENCES t(id) ON DELETE CASCADE true',
    'to_self t FOREIGN KEY (up) REFERENCES t(id) DEFERRABLE true',
  ]);
  const there = await db.pool.query(
    `select relrowsecurity, relreplident, reloptions, (select count(*)::int from pg_policy where polrelid = c.oid) as policies
       from pg_class c where relname in ('s', 't') order by relname`,
  );
  const same = { relrowsecurity: true, relreplident: 'f', reloptions: ['fillfactor=70'], policies: 1 };
  expect(there.rows).toEqual([same, same]);
  // the application goes on, also with deletes that the old table's rows would have stood in the way of
  await db.pool.query(
    'delete from t where id = 60; delete from parent where id = 60; delete from t where id = 50',
  );
  expect((await db.pool.query('select count(*)::int as n from child')).rows).toEqual([{ n: 0 }]);
});

test.each([
  [
    'view',
    'create view seen as select n from s',
    /view public\.seen depends on it: with finish "route" it would go on reading/,
  ],
  [
    'function',
    'create function total() returns bigint language sql begin atomic select sum(n) from s; end',
    /function public\.total\(\) depends on it: with finish "route"/,
  ],
  [
    'trigger',
    "create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger mine before insert on s for each row execute function f()",
    /trigger mine on table public\.s depends on it: with finish "route"/,
  ],
  ['publication', 'create publication p for table s', /publication p depends on it: with finish "route"/],
  [
    'publication of the schema',
    'create publication p for tables in schema public',
    /publication p publishes it, and would go on/,
  ],
  [
    'extended statistics',
    'create statistics st on n, up from s',
    /statistics object public\.st depends on it: with finish "route"/,
  ],
])('route refuses what would stay with the old table: %s', async (_, sql, message) => {
  const db = await migrationDatabase(tables);
  await db.pool.query(sql);
  const { error } = await preflight(db.ctx.pool, file);
  expect(error).toMatchObject({ code: 'DEPENDENT_REFUSED', message: expect.stringMatching(message) });
});
