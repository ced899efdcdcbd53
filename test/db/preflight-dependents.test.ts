import { pino } from 'pino';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { testDatabase } from '../support/database.ts';
import {
  expectRefusal,
  type MigrationDatabase,
  migrationDatabase,
  migrationOf,
  said,
} from '../support/migrations.ts';

let db: MigrationDatabase;
beforeAll(async () => {
  db = await migrationDatabase();
});
beforeEach(async () => {
  const { rows } = await db.pool.query<{ name: string }>(
    'select quote_ident(pubname) as name from pg_publication',
  );
  for (const { name } of rows) await db.pool.query(`drop publication ${name}`);
  await db.pool.query(
    'drop schema public cascade; create schema public; delete from foreshadow.migration_status',
  );
});

const tables = `
  create table parent (id int primary key);
  create table s (id int primary key, n int not null, tag text);
  create table t (id bigint primary key, n int not null, tag text);
  insert into parent select i from generate_series(1, 20) i;
  insert into s select i, i, 'x' from generate_series(1, 20) i;`;

/** Bound to the source these go along with the swap (test/db/fixtures); whoever looks at the target would follow it. */
const ofTarget: [string, string, RegExp][] = [
  [
    'outgoing foreign key',
    'alter table %s add constraint to_parent foreign key (n) references parent',
    /constraint to_parent on table public\.%s depends on it/,
  ],
  [
    'incoming foreign key',
    'create table child (s_id bigint constraint to_it references %s)',
    /constraint to_it on table public\.child depends on it/,
  ],
  [
    'foreign key to itself',
    'alter table %s add constraint to_self foreign key (id) references %s',
    /constraint to_self on table public\.%s depends on it/,
  ],
  ['view', 'create view seen as select n from %s', /rule _RETURN on view public\.seen depends on it/],
  [
    'trigger of the user',
    "create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger mine before insert on %s for each row execute function f()",
    /trigger mine on table public\.%s depends on it/,
  ],
  [
    'constraint trigger',
    "create function f() returns trigger language plpgsql as 'begin return new; end'; create constraint trigger later after insert on %s deferrable for each row execute function f()",
    /trigger later on table public\.%s depends on it/,
  ],
  [
    'publication that names it',
    'create publication p for table %s',
    /publication of table public\.%s in publication p depends on it/,
  ],
  [
    'SQL-body function over it',
    'create function public.total() returns bigint language sql begin atomic select sum(n) from %s; end',
    /function public\.total\(\) depends on it/,
  ],
];

/** Neither table may have these. */
const ofEither: [string, string, RegExp][] = [
  [
    'materialized view',
    'create materialized view kept as select n from %s',
    /materialized view public\.kept depends on it/,
  ],
  [
    'rule',
    'create rule quiet as on delete to %s do instead nothing',
    /rule quiet on table public\.%s depends on it/,
  ],
  ['publication of all tables', 'create publication p for all tables', /publication p publishes it/],
  ['inheritance parent', 'create table public.heir () inherits (%s)', /inheritance with public\.heir/],
  [
    'exclusion constraint',
    'alter table %s add constraint apart exclude using btree (n with =)',
    /constraint apart on table public\.%s depends on it/,
  ],
  [
    'function over its row type',
    'create function name_of(%s) returns text language sql return ($1).tag',
    /function public\.name_of\(public\.%s\) depends on it/,
  ],
  [
    'function that returns its rows',
    "create function public.all_of() returns setof %s language plpgsql as 'begin end'",
    /function public\.all_of\(\) depends on it/,
  ],
  [
    'column of its row type',
    'create table box (content %s)',
    /column content of table public\.box depends on it/,
  ],
  [
    'column of an array of its row type',
    'create table box (content %s[])',
    /column content of table public\.box depends on it/,
  ],
  ['domain over its row type', 'create domain row_of as %s', /type public\.row_of depends on it/],
  ['unlogged table', 'alter table %s set unlogged', /is temporary or unlogged/],
];

describe.each(['source', 'target'] as const)('the %s', (role) => {
  const table = role === 'source' ? 's' : 't';
  const cases = role === 'source' ? ofEither : [...ofEither, ...ofTarget];
  test.each(cases)('%s is refused by name', async (_, sql, message) => {
    await db.pool.query(tables);
    await db.pool.query(sql.replaceAll('%s', table));
    const told = new RegExp(message.source.replaceAll('%s', table));
    const error = await expectRefusal(db, {}, 'DEPENDENT_REFUSED', told);
    const said = [error.message, ...((error.detail.also as string[] | undefined) ?? [])];
    expect(
      said.filter((each) => told.test(each) && each.startsWith(`${role} public.${table}: `)),
    ).toHaveLength(1);
    expect(error.hint).toMatch(/Drop or move the named object/);
  });
});

describe('tables that are not plain', () => {
  const cases: [string, string, RegExp][] = [
    [
      'inheritance child',
      'create table base (n int); create table s (id int primary key, n int) inherits (base); create table t (id int primary key, n int)',
      /source public\.s: inheritance with public\.base/,
    ],
    [
      'partitioned source',
      'create table s (id int primary key, n int) partition by range (id); create table t (id int primary key, n int)',
      /source public\.s: is not a plain table/,
    ],
    [
      'partitioned target without partitions',
      'create table s (id int primary key, n int); create table t (id int primary key, n int) partition by range (id)',
      /target public\.t: it has no partition to write to/,
    ],
    [
      'partition as source',
      'create table whole (id int primary key, n int) partition by range (id); create table s partition of whole default; create table t (id int primary key, n int)',
      /source public\.s: is not a plain table/,
    ],
    [
      'key without overlaps',
      'create table s (id int4range, during daterange, primary key (id, during without overlaps)); create table t (id int4range primary key, during daterange)',
      /source public\.s: constraint s_pkey on table public\.s depends on it/,
    ],
    [
      'view as source',
      'create view s as select 1 as id; create table t (id int primary key)',
      /source public\.s: is not a plain table/,
    ],
    [
      'view as target',
      'create table s (id int primary key); create view t as select 1 as id',
      /target public\.t: is not a plain table/,
    ],
  ];
  test.each(cases)('%s', async (_, setup, message) => {
    await db.pool.query(setup);
    const { error } = await preflight(db.ctx.pool, migrationOf());
    expect(error).toMatchObject({ code: 'DEPENDENT_REFUSED', message: expect.stringMatching(message) });
  });
});

test('what the swap carries stands in nobody’s way', async () => {
  await db.pool.query(`
    create table s (id serial primary key, n int default 3 check (n > 0), tag text unique, g int generated always as (n + 1) stored);
    create table t (id bigint generated by default as identity primary key, n int, tag text unique, g int);
    create index on s (n); create index on s ((n + 1)) where n > 2; comment on table s is 'rows'; comment on column s.n is 'a number';
    grant select on s to public; grant update (n) on s to public;`);
  const { error, checks } = await preflight(db.ctx.pool, migrationOf({ map: { g: 'g' } }));
  expect(error).toBeNull();
  expect(checks.filter((check) => check.id.startsWith('dependents')).map((check) => check.status)).toEqual([
    'ok',
    'ok',
  ]);
});

test('every dependent is named, each once', async () => {
  await db.pool.query(
    `${tables} create materialized view public.v1 as select n from s; create view v2 as select n from t; create rule r as on delete to s do instead nothing;`,
  );
  const { checks } = await preflight(db.ctx.pool, migrationOf());
  const refused = checks.filter((check) => check.status === 'refuse').map((check) => check.message);
  expect(refused).toEqual([
    expect.stringMatching(/source public\.s: materialized view public\.v1/),
    expect.stringMatching(/source public\.s: rule r on table public\.s/),
    expect.stringMatching(/target public\.t: rule _RETURN on view public\.v2/),
  ]);
});

test('what goes along and what stays behind is told by name', async () => {
  await db.pool.query(`
    create table s (id serial primary key, n int default 3 constraint positive check (n > 0), cents int constraint rich check (cents > 0), tag text unique);
    create table t (id bigint primary key, n int, amount numeric, tag text);
    create index s_cents on s (cents, n); create index s_half on s (n) where cents > 5; create index s_lower on s (lower(tag));`);
  const { error, checks } = await preflight(db.ctx.pool, migrationOf({ map: { amount: 'cents / 100.0' } }));
  expect(error).toBeNull();
  expect(said(checks, 'parts of source')).toEqual([
    [
      'ok',
      'go along where the target has none of its own: check positive, default of n, index s_lower, index s_tag_key',
    ],
    [
      'warn',
      'stay with the old table, since the map changes their columns: check rich (over cents), index s_cents (over cents), index s_half (over cents)',
    ],
  ]);
});

test('all of it is told before there is a schema of ours', async () => {
  const bare = await testDatabase();
  await bare.pool.query(`${tables}
    create view seen as select id from s; create function f() returns trigger language plpgsql as 'begin return new; end';
    create trigger mine before insert on s for each row execute function f(); alter table s add foreign key (n) references parent;`);
  const pool = createPool({
    url: bare.url,
    applicationName: 'foreshadow test',
    log: pino({ level: 'silent' }),
  });
  const { error, checks } = await preflight(pool, migrationOf()).finally(() => pool.end());
  expect(error).toBeNull();
  expect(checks.filter(({ message }) => / goes along with the swap/.test(message))).toHaveLength(3);
});
