import { expect, test } from 'vitest';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';

/** Keys of every make: their order and equality are S's, and no value passes through JavaScript's numbers. */
const cases: [title: string, setup: string, file: Parameters<typeof migrationOf>[0]][] = [
  [
    'composite, of three types, in another order in T',
    `create table s (region text, day date, id int, n int, primary key (region, day, id));
     create table t (id bigint, region varchar(10), day date, n int, primary key (id, day, region));
     insert into s select 'r' || i % 3, date '2024-01-01' + i % 7, i / 5, i from generate_series(1, 400) i on conflict do nothing;`,
    { key: ['region', 'day', 'id'] },
  ],
  [
    'text in a collation of its own, with letters that collations order differently',
    `create table s (id text collate "C" primary key, n int); create table t (id text collate "und-x-icu" primary key, n int);
     insert into s select x || i, i from generate_series(1, 100) i, unnest(array['a', 'B', 'é', 'Z', '_', 'ß', '''', '"\\,{}']) x;`,
    {},
  ],
  [
    'text without regard to case',
    `create collation nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
     create table s (id text collate nocase primary key, n int); create table t (id text collate nocase primary key, n int);
     insert into s select case when i % 2 = 0 then 'Key' else 'key' end || i, i from generate_series(1, 300) i;`,
    {},
  ],
  [
    'uuid to text and back',
    `create table s (id uuid primary key, n int); create table t (id text primary key, n int);
     insert into s select md5(i::text)::uuid, i from generate_series(1, 300) i;`,
    { map: { id: 'id::text' }, back: { id: 'id::uuid' } },
  ],
  [
    'char(n), whose blanks do not count',
    `create table s (id char(8) primary key, n int); create table t (id char(8) primary key, n int);
     insert into s select 'k' || i, i from generate_series(1, 300) i;`,
    {},
  ],
  [
    'numeric with scales that are equal and not the same',
    `create table s (id numeric primary key, n int); create table t (id numeric primary key, n int);
     insert into s select case when i % 2 = 0 then i else i + 0.00 end, i from generate_series(1, 300) i;`,
    {},
  ],
  [
    'bigint beyond what a JavaScript number holds, timestamps to the microsecond, bytes',
    `create table s (a bigint, b timestamptz, c bytea, n int, primary key (a, b, c)); create table t (a numeric, b timestamptz, c bytea, n int, primary key (a, b, c));
     insert into s select 9007199254740993 + i % 5, timestamptz '2024-01-01 00:00:00.000001+00' + i * interval '1 microsecond', int4send(i), i
       from generate_series(1, 300) i;`,
    { key: ['a', 'b', 'c'] },
  ],
  [
    'floating point, with both zeros, infinities and NaN',
    `create table s (id float8 primary key, n int); create table t (id float8 primary key, n int);
     insert into s select sqrt(i), i from generate_series(1, 200) i; insert into s values ('-0', 1), ('inf', 2), ('-inf', 3), ('nan', 4);`,
    {},
  ],
  [
    'names that need quotes everywhere',
    `create table "S ""x""" ("The Key" int primary key, "select" int, "a.b" text); create table "T $$ 'y'" ("The Key" bigint primary key, "select" int, "a.b" text, "new %s" int);
     insert into "S ""x""" select i, i, 'v' from generate_series(1, 200) i;`,
    {
      source: 'public."S ""x"""',
      target: `public."T $$ 'y'"`,
      key: ['The Key'],
      map: { 'new %s': '"select" + 1' },
    },
  ],
  [
    'enum, and a key of a domain',
    `create type mood as enum ('sad', 'ok', 'happy'); create domain positive as int check (value > 0);
     create table s (m mood, id positive, n int, primary key (m, id)); create table t (m mood, id bigint, n int, primary key (m, id));
     insert into s select (enum_range(null::mood))[1 + i % 3], i, i from generate_series(1, 200) i;`,
    { key: ['m', 'id'], map: { id: 'id::bigint' } },
  ],
  [
    'a unique index instead of a primary key, next to others on the same column that will not do',
    `create table s (id int not null, n int); create unique index s_key on s (id);
     create table t (id bigint not null, n int); create unique index a_partial on t (id) where n > 5; create unique index b_wide on t (id, (n + 1)); create unique index c_key on t (id);
     insert into s select i, i from generate_series(1, 200) i;`,
    {},
  ],
];

test.each(cases)('%s', async (_, setup, given) => {
  const db = await migrationDatabase(setup);
  const file = migrationOf(given);
  const table = file.source;
  const keyed = file.key.map((column) => `"${column}"`).join(', ');
  // some changes while it runs: deletes, updates, and updates of nothing
  const writer = (async () => {
    await db.run(file, { until: 'SHADOWING' });
    await db.pool.query(
      `delete from ${table} where ctid in (select ctid from ${table} order by ${keyed} limit 7);`,
    );
    await db.pool.query(`update ${table} set ${keyed.split(', ')[0]} = ${keyed.split(', ')[0]} where true`);
  })();
  await writer;
  const { rows: before } = await db.pool.query<{ n: number }>(`select count(*)::int as n from ${table}`);
  const status = await db.run(file);
  expect(status.status).toBe('COMPLETED');
  expect(status.verification).toMatchObject({ missing: 0, extra: 0, different: 0, compared: before[0]?.n });
  const { rows: after } = await db.pool.query<{ n: number }>(`select count(*)::int as n from ${table}`);
  expect(after).toEqual(before);
  expect(after[0]?.n).toBeGreaterThan(50);
});
