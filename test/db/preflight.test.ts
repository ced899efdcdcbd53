import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { MigrationFile } from '../../src/config/migration-file.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import type { RunOptions } from '../../src/pipeline.ts';
import { catalogueOf } from '../support/catalogue.ts';
import {
  expectRefusal,
  type MigrationDatabase,
  migrationDatabase,
  migrationOf,
  type Part,
} from '../support/migrations.ts';

let db: MigrationDatabase;
beforeAll(async () => {
  db = await migrationDatabase();
});

const source = `
  create table s (id int primary key, cents int not null, status text, at timestamptz, seen timestamp, day date, big bigint, note text);
  insert into s select i, i * 10, 'open', now(), now(), now(), i, 'n' || i from generate_series(1, 50) i;`;
const target = 'create table t (id bigint primary key, amount numeric(12,2) not null, status text);';
const map = { amount: 'cents / 100.0' };

beforeEach(() =>
  db.pool.query('drop schema public cascade; create schema public; delete from foreshadow.migration_status'),
);

const expectRefused = (
  file: Part<MigrationFile>,
  code: ErrorCode,
  message: RegExp,
  exit = 3,
  options: RunOptions = {},
) => expectRefusal(db, file, code, message, exit, options);

test('a migration that nothing speaks against passes, and preflight alone leaves no trace either', async () => {
  await db.pool.query(source + target);
  const before = await catalogueOf(db.pool);
  const { error, checks, draft } = await preflight(db.ctx.pool, migrationOf({ map }));
  expect(error).toBeNull();
  expect(draft?.targetKey).toMatchObject([{ name: 'id', type: 'bigint' }]);
  expect(checks.filter((check) => check.status === 'warn').map((check) => check.message)).toEqual([
    expect.stringMatching(/nothing in the target keeps: at, seen, day, big, note/),
    expect.stringMatching(
      /no way back .* gives these columns of the source back: cents, at, seen, day, big, note/,
    ),
    expect.stringMatching(/prepared over public\.s will break .* \(id integer → bigint\)/),
  ]);
  expect(await catalogueOf(db.pool)).toEqual(before);
});

describe('tables and keys', () => {
  const noKey = 'create table s (id int not null, cents int not null, status text);';
  const cases: [string, string, Part<MigrationFile>, ErrorCode, RegExp][] = [
    ['no key at all', noKey + target, { map }, 'NO_KEY', /public\.s has no key on \[id\]; usable.*none/],
    [
      'a unique column that may be null',
      `create table s (id int unique, cents int not null, status text);${target}`,
      { map },
      'NO_KEY',
      /none/,
    ],
    [
      'a partial unique index',
      `${noKey}create unique index on s (id) where cents > 0;${target}`,
      { map },
      'NO_KEY',
      /none/,
    ],
    [
      'a deferrable key',
      `create table s (id int primary key deferrable, cents int not null, status text);${target}`,
      { map },
      'NO_KEY',
      /none/,
    ],
    [
      'an index on an expression',
      `${noKey}create unique index on s ((id + 1));${target}`,
      { map },
      'NO_KEY',
      /none/,
    ],
    [
      'a unique index by another collation than the column',
      `create table s (id text collate "C" not null, v int); create unique index on s (id collate "und-x-icu");
       create table t (id text collate "C" primary key, v int);`,
      {},
      'NO_KEY',
      /public\.s has no key on \[id\]; usable.*none/,
    ],
    [
      'a unique index by another operator class than the type has',
      `create table s (id text primary key, v int); create table t (id text not null, v int);
       create unique index on t (id text_pattern_ops);`,
      {},
      'NO_KEY',
      /public\.t has no primary key, or unique index over not-null columns/,
    ],
    [
      'a key named in the wrong order',
      `create table s (a int, b int, cents int not null, status text, primary key (a, b));
       create table t (a int, b int, amount numeric not null, primary key (a, b));`,
      { key: ['b', 'a'], map },
      'NO_KEY',
      /no key on \[b, a\]; usable, in this order of columns: \[a, b\]/,
    ],
    [
      'half a key',
      'create table s (a int, b int, primary key (a, b)); create table t (like s including all);',
      { key: ['a'] },
      'NO_KEY',
      /\[a, b\]/,
    ],
    [
      'a target without a key',
      `${source}create table t (id bigint not null, amount numeric(12,2) not null);`,
      { map },
      'NO_KEY',
      /public\.t has no primary key/,
    ],
    [
      'a target key that does not come from the source key alone',
      `${source}create table t (id bigint primary key, amount numeric(12,2) not null);`,
      { map: { ...map, id: 'id + cents' } },
      'NO_KEY',
      /that comes from \[id\] alone/,
    ],
    [
      'a source key of a type whose equality is not that of pg_catalog, behind a domain',
      `create extension citext schema public; create domain email as citext;
       create table s (id email primary key, v int); insert into s values ('A', 1), ('b', 2);
       create table t (id text primary key, v int);`,
      { map: { id: 'lower(id::text)' } },
      'NO_KEY',
      /column "id" \(public\.email\) of public\.s cannot be in the key: .* public\.=\(public\.citext,public\.citext\); use another key/,
    ],
    [
      'a target key of such a type',
      `create extension citext schema public; create table s (id text primary key, v int);
       create table t (id citext primary key, v int);`,
      { map: { id: 'id::citext' } },
      'NO_KEY',
      /column "id" \(public\.citext\) of public\.t cannot be in the key/,
    ],
    [
      'a key that is an array',
      'create table s (id int[] primary key); create table t (id int[] primary key);',
      {},
      'NO_KEY',
      /column "id" \(integer\[\]\) of public\.s cannot be in the key: its type is an array/,
    ],
    [
      'a key that is a composite, behind a domain',
      `create type pair as (a int, b int); create domain both_of as pair;
       create table s (id both_of primary key); create table t (id both_of primary key);`,
      {},
      'NO_KEY',
      /column "id" \(public\.both_of\) of public\.s cannot be in the key: its type is a composite/,
    ],
    [
      'a key whose collation is not that of its domain',
      `create domain code as text collate "C"; create table s (id code collate "und-x-icu" primary key, v int);
       create table t (id text primary key, v int);`,
      { map: { id: 'id::text' } },
      'NO_KEY',
      /column "id" \(public\.code\) of public\.s cannot be in the key: its collation is not its type's, "C"/,
    ],
    ['a missing target', source, { map }, 'TARGET_MISSING', /there is no table public\.t/],
    [
      'a missing source',
      'create table s (id int primary key)',
      { source: 'public.none', map },
      'SOURCE_MISSING',
      /there is no table public\.none/,
    ],
    [
      'a target with a row in it',
      `${source}${target}insert into t values (1, 1, 'x');`,
      { map },
      'TARGET_NOT_EMPTY',
      /public\.t has rows already/,
    ],
    ['the source as its own target', source, { target: 'public.s' }, 'BAD_MIGRATION_FILE', /same table/],
    [
      'a name that is none',
      source + target,
      { map, target: 'public.t; drop table s' },
      'BAD_MIGRATION_FILE',
      /not a table name/,
    ],
    [
      'an unmapped NOT NULL column',
      `${source}create table t (id bigint primary key, amount numeric(12,2) not null, region text not null);`,
      { map },
      'TARGET_UNMAPPED',
      /"region" \(text\) of public\.t is NOT NULL/,
    ],
    [
      'an unmapped nullable column',
      `${source}create table t (id bigint primary key, amount numeric(12,2) not null, region text);`,
      { map },
      'TARGET_UNMAPPED',
      /"region" \(text\) of public\.t is nullable/,
    ],
    [
      'a map of a column that the target lacks',
      source + target,
      { map: { ...map, colour: '1' } },
      'MAP_INVALID',
      /map names "colour", which public\.t does not have/,
    ],
    [
      'a back map of a column that the source lacks',
      source + target,
      { map, back: { colour: '1' } },
      'MAP_INVALID',
      /back map names "colour", which public\.s does not have/,
    ],
    [
      'a map of a generated column',
      `${source}create table t (id bigint primary key, amount numeric(12,2) not null, twice numeric generated always as (amount * 2) stored);`,
      { map: { ...map, twice: '1' } },
      'MAP_INVALID',
      /map names "twice", which public\.t generates itself/,
    ],
    [
      'an invariant that is no boolean',
      source + target,
      { map, invariants: [{ name: 'odd', sql: 't.amount' }] },
      'MAP_INVALID',
      /"odd" is not a boolean/,
    ],
  ];
  test.each(cases)('%s', async (_, setup, file, code, message) => {
    await db.pool.query(`${setup}; ${setup.includes('table s ') ? '' : 'create table s ()'}`);
    await expectRefused(file, code, message, code === 'BAD_MIGRATION_FILE' ? 2 : 3);
  });

  test('of two keys of the target, the one is taken whose equality is that of pg_catalog', async () => {
    await db.pool.query(`create extension citext schema public; create table s (id text primary key, v int);
      create table t (id citext primary key, code text not null unique, v int);`);
    const { draft, error } = await preflight(
      db.ctx.pool,
      migrationOf({ map: { id: 'id::citext', code: 'id' } }),
    );
    expect(error).toBeNull();
    expect(draft?.targetKey).toMatchObject([{ name: 'code' }]);
  });

  test('the hint for an unmapped column is one that helps', async () => {
    await db.pool.query(
      `${source}create table t (id bigint primary key, amount numeric(12,2) not null, region text);`,
    );
    const error = await expectRefused({ map }, 'TARGET_UNMAPPED', /region/);
    expect(error.hint).not.toMatch(/make it nullable/); // it is
    const { error: none } = await preflight(db.ctx.pool, migrationOf({ map: { ...map, region: 'null' } }));
    expect(none).toBeNull();
  });

  test('too little disk', async () => {
    await db.pool.query(source + target);
    const error = await expectRefused(
      { map },
      'DISK',
      /of disk are needed on the server, and 0\.00 GiB are free/,
      3,
      { diskFree: 1 },
    );
    expect(error.httpStatus).toBe(507);
  });

  test('several faults at once: one error, the others in its detail', async () => {
    await db.pool.query(
      `${source}create table t (id bigint primary key, amount numeric(12,2) not null, status text, region text not null);`,
    );
    const error = await expectRefused({ map: { amount: 'centz', status: 'now()' } }, 'MAP_INVALID', /centz/);
    expect(error.detail.also).toEqual([expect.stringMatching(/now\(\)/), expect.stringMatching(/region/)]);
  });
});

describe('a row map that is not one immutable expression over one row', () => {
  const helpers = `
    create function pick(int) returns int language plpgsql volatile as 'begin return $1; end';
    create function today_of(text) returns text language plpgsql stable as 'begin return $1; end';`;
  const wide = `create table t (id bigint primary key, amount numeric(12,2) not null, status text, day date, at timestamptz, seen timestamp, note text);`;
  const rest = { ...map, day: 'null::date', at: 'null::timestamptz', seen: 'null::timestamp', note: 'null' };

  const mutable: [string, string, RegExp][] = [
    ['note', 'now()::text', /"note" is not immutable: now\(\) is stable/],
    ['day', 'at::date', /"day" is not immutable: (pg_catalog\.)?date\(timestamp with time zone\) is stable/],
    [
      'note',
      "to_char(at, 'YYYY')",
      /"note" is not immutable: to_char\(timestamp with time zone,text\) is stable/,
    ],
    ['day', 'current_date', /"day" is not immutable: current_date or its like is stable/],
    ['note', 'current_user::text', /"note" is not immutable/],
    ['note', 'random()::text', /random\(\) is volatile/],
    ['note', 'at::text', /"note" is not immutable: the cast to text is stable/],
    ['at', 'note::timestamptz', /"at" is not immutable: the cast to timestamp with time zone is stable/],
    ['amount', 'pick(cents)', /"amount" is not immutable: public\.pick\(integer\) is volatile/],
    ['note', 'today_of(note)', /"note" is not immutable: public\.today_of\(text\) is stable/],
    ['note', "(at + interval '1 day' > at)::text || at", /"note" is not immutable/],
  ];
  test.each(mutable)('%s: %s names the column and the function', async (column, expression, message) => {
    await db.pool.query(source + wide + helpers);
    const error = await expectRefused(
      { map: { ...rest, [column]: expression } },
      'MAP_NOT_IMMUTABLE',
      message,
    );
    expect(error.detail).toMatchObject({ column });
    expect(error.hint).toMatch(/at time zone 'UTC'/);
  });

  describe('what PostgreSQL calls immutable, and follows a setting of the session', () => {
    const tables = `create domain weight as real;
      create table s (id int primary key, f float8, r real, w weight, b bytea, p point, ps point[], n int, u uuid, d text,
        at timestamptz, c circle);
      create table t (id int primary key, x text);`;
    const floats =
      /is not the same in every session: the text of .* depends on extra_float_digits [\s\S]*; write x::numeric::text/;
    const followed: [string, RegExp][] = [
      ['f::text', floats],
      ['f', floats], // by assignment
      ['w', /the text of public\.weight depends on extra_float_digits/],
      ["r || ''", floats],
      ["'' || f", floats],
      ['coalesce(f, n)::varchar(9)', floats],
      ['(case when n > 0 then nullif(f, 0) end)::text', floats],
      ['(f::text collate "C")', floats],
      ['quote_literal(r)', floats],
      ['quote_nullable(f * 2)', floats],
      ['b', /the text of bytea depends on bytea_output \(in .*\); write encode\(x, 'hex'\) instead/],
      ["b || ' '::text", /bytea_output/],
      ["md5(b::text || 'x')", /bytea_output/],
      [
        'p::text',
        /the text of point depends on extra_float_digits .*; write its coordinates, each as numeric/,
      ],
      ['c::text', /the text of circle depends on extra_float_digits/],
      ['(ps::text[])[1]', /the text of point depends on extra_float_digits/],
      ['ps[1]::text', /the text of point depends on extra_float_digits/],
      ["json_object('a': f)::text", floats],
      ['xmlserialize(content xmlelement(name ":vartype", b) as text)', /bytea_output/],
      [
        'xmlserialize(content xmlforest(at as a) as text)',
        /the text of timestamp with time zone depends on TimeZone/,
      ],
      ['extract(day from age(at, at))::int::text', /age\(timestamptz, timestamptz\) depends on TimeZone/],
      ['quote_ident(d)', /quote_ident\(text\) depends on quote_all_identifiers/],
    ];
    test.each(followed)('%s is refused', async (x, message) => {
      await db.pool.query(tables);
      const error = await expectRefused({ map: { x } }, 'MAP_NOT_IMMUTABLE', message);
      expect(error.detail).toMatchObject({ column: 'x', setting: expect.any(String) });
    });

    const alike = [
      'n::text',
      "n || ''",
      'u::text',
      "encode(b, 'hex')",
      'f::numeric::text',
      "r::numeric || ''",
      '(p[0])::numeric::text',
      'quote_literal(d)',
      'quote_nullable(n)',
      '(d::float8)::int::text',
      "length(b || '\\x00')::text",
      "json_object('a': n)::text",
      "extract(day from age(at at time zone 'UTC', at at time zone 'UTC'))::text",
    ];
    test.each(alike)('%s is not', async (x) => {
      await db.pool.query(tables);
      expect((await preflight(db.ctx.pool, migrationOf({ map: { x } }))).error).toBeNull();
    });

    test('nor may a generated column of the target follow one', async () => {
      await db.pool.query(`create table s (id int primary key, f float8);
        create table t (id int primary key, f float8, x text generated always as (f || '') stored);`);
      await expectRefused(
        {},
        'MAP_NOT_IMMUTABLE',
        /generated column "x" of public\.t is not the same in every session: the text of double precision/,
      );
    });
  });

  // The assignment to the column converts too, and what it does must not depend on the session either.
  const assigned: [string, Record<string, string>][] = [
    ['day', { ...rest, day: 'at' }], // timestamptz → date
    ['at', { ...rest, at: 'seen' }], // timestamp → timestamptz, by itself
    ['at', { ...rest, at: 'day' }], // date → timestamptz, by itself
    ['note', { ...rest, note: 'at' }], // timestamptz → text
  ];
  test.each(assigned)('%s by assignment %j', async (column, given) => {
    await db.pool.query(source + wide);
    const error = await expectRefused({ map: given }, 'MAP_NOT_IMMUTABLE', /is not immutable/);
    expect(error.detail).toMatchObject({ column });
  });

  test('a column of the same name whose type converts by itself, but by the time zone', async () => {
    await db.pool.query(`
      create table s (id int primary key, at timestamp); create table t (id int primary key, at timestamptz);`);
    await expectRefused(
      {},
      'MAP_NOT_IMMUTABLE',
      /"at" is not immutable: timestamptz\(timestamp without time zone\) is stable/,
    );
    const { error } = await preflight(db.ctx.pool, migrationOf({ map: { at: "at at time zone 'UTC'" } }));
    expect(error).toBeNull();
  });

  const invalid: [string, RegExp][] = [
    ['cents +', /syntax error/],
    ['', /syntax error|must NOT have fewer/],
    ['cents; drop table s', /several statements|syntax error/],
    ['1) from s; drop table s; --', /not one SQL expression/],
    ['1) from s where (true', /holds a (from|where)Clause/],
    ['1), (2', /several statements or columns/],
    ['1) union select (2', /several statements or columns|holds a/],
    ['1) order by (1', /holds a sortClause/],
    ['1) limit (1', /holds a limitCount/],
    ['1) into x from s; --', /several statements|syntax error|holds a/],
    ["1 /* ' */) from pg_class -- ", /not one SQL expression/],
    ['$1', /parameter/],
    ['(select max(cents) from s)', /subquery/],
    ['exists (select 1)', /subquery/],
    ['sum(cents)', /aggregate/],
    ['row_number() over ()', /window/],
    ['generate_series(1, 2)', /set-returning/],
    ['s.ctid::text::numeric', /system column/],
    ['s.xmin::text::numeric', /system column/],
    ['s.tableoid::int', /system column/],
    ['no_such_column', /no_such_column/],
    ['no_such_function(cents)', /no_such_function/],
    ['other.cents', /other/],
    ['foreshadow_one.one', /foreshadow_one/],
    ['one', /one/],
    ["'{}'::jsonb", /jsonb|type/],
    ['status', /is of type numeric but expression is of type text/],
  ];
  test.each(invalid.filter(([expression]) => expression))('%s', async (expression, message) => {
    await db.pool.query(source + target);
    const error = await expectRefused({ map: { amount: expression } }, 'MAP_INVALID', message);
    expect(error.detail).toMatchObject({ column: 'amount' });
  });

  test.each(['ctid', 'tableoid'])('%s without an alias', async (column) => {
    await db.pool.query(source + target);
    await expectRefused({ map: { amount: `${column}::text::numeric` } }, 'MAP_INVALID', new RegExp(column));
  });

  test('names resolve by the search path of the role, else of the database, else public', async () => {
    const file = migrationOf({ map: { ...map, status: 'shout(status)' } });
    await db.pool.query(`${source}${target}create schema app;
      create function public.shout(text) returns text immutable language sql return upper($1);
      create function app.shout(text) returns text immutable language sql return upper($1) || '!';`);
    const shout = async () => {
      const { draft } = await preflight(db.ctx.pool, file);
      return draft?.columns.find((column) => column.name === 'status')?.expression;
    };
    expect(await shout()).toBe('public.shout(s.status)');
    await db.pool.query(`alter database ${db.name} set search_path = app, public`);
    expect(await shout()).toBe('app.shout(s.status)');
    await db.pool.query(`alter role current_user in database ${db.name} set search_path = public`);
    expect(await shout()).toBe('public.shout(s.status)');
    await db.pool.query(
      `alter role current_user in database ${db.name} reset all; alter database ${db.name} reset all; drop schema app cascade`,
    );
  });

  test('a comment at the end of an expression is no fault', async () => {
    await db.pool.query(source + target);
    const { error } = await preflight(
      db.ctx.pool,
      migrationOf({ map: { amount: 'cents / 100.0 -- in euros' } }),
    );
    expect(error).toBeNull();
  });
});

describe('types that lose something', () => {
  const pairs: [string, string, string][] = [
    ['bigint', 'integer', 'x::integer'],
    ['numeric', 'integer', 'x::integer'],
    ['numeric(12,4)', 'numeric(12,2)', 'x::numeric\\(12,2\\)'],
    ['numeric', 'numeric(12,2)', 'x::numeric\\(12,2\\)'],
    ['double precision', 'real', 'x::real'],
    ['timestamp', 'timestamp(0)', 'x::timestamp\\(0\\) without time zone'],
    ['timestamp', 'date', 'x::date'],
    ['integer', 'text', 'x::text'],
    ['text', 'integer', 'x::integer'],
    ['jsonb', 'json', 'x::json'],
  ];
  test.each(
    pairs,
  )('%s does not become %s by itself, and the message says what to write', async (from, to, say) => {
    await db.pool.query(
      `create table s (id int primary key, x ${from}); create table t (id int primary key, x ${to});`,
    );
    await expectRefused(
      {},
      'MAP_INVALID',
      new RegExp(`does not become .* by itself; write "map": \\{ "x": "${say}" \\}`),
    );
    const { error } = await preflight(db.ctx.pool, migrationOf({ map: { x: `x::${to}` } }));
    expect(error).toBeNull();
  });

  const wider: [string, string][] = [
    ['integer', 'bigint'],
    ['integer', 'numeric'],
    ['real', 'double precision'],
    ['varchar(10)', 'text'],
    ['text', 'varchar(10)'], // too long a text is an error, not a loss
    ['varchar(20)', 'varchar(10)'],
    ['date', 'timestamp'],
  ];
  test.each(wider)('%s becomes %s', async (from, to) => {
    await db.pool.query(
      `create table s (id int primary key, x ${from}); create table t (id int primary key, x ${to});`,
    );
    expect((await preflight(db.ctx.pool, migrationOf())).error).toBeNull();
  });
});

describe('a row map that fails on some rows', () => {
  const few = (values: string) =>
    `create table s (id int primary key, cents int, code text); insert into s values ${values};`;
  const cases: [string, string, Record<string, string>, string[], RegExp][] = [
    [
      'a cast',
      `${few("(1, 5, '10'), (2, 6, 'ten'), (3, 7, ''), (4, 8, '40')")}create table t (id int primary key, code int);`,
      { code: 'code::int' },
      ['2', '3'],
      /2: invalid input syntax for type integer: "ten"/,
    ],
    [
      'a division',
      `${few("(1, 0, ''), (2, 1, '')")}create table t (id int primary key, x int);`,
      { x: '10 / cents' },
      ['1'],
      /1: division by zero/,
    ],
    [
      'a number that overflows',
      `${few("(1, 5, ''), (2, 70000, '')")}create table t (id int primary key, x smallint);`,
      { x: 'cents::smallint' },
      ['2'],
      /2: smallint out of range/,
    ],
    [
      'NOT NULL of the target',
      `${few("(1, 5, ''), (2, null, ''), (3, null, '')")}create table t (id int primary key, cents int not null);`,
      {},
      ['2', '3'],
      /2: null value in column "cents"/,
    ],
    [
      'CHECK of the target',
      `${few("(1, 5, ''), (2, -6, '')")}create table t (id int primary key, cents int check (cents > 0));`,
      {},
      ['2'],
      /2: .*violates check constraint/,
    ],
    [
      'a text that is too long',
      `${few("(1, 5, 'abcdef'), (2, 6, 'ab')")}create table t (id int primary key, code varchar(3));`,
      {},
      ['1'],
      /1: value too long/,
    ],
    [
      'a unique index of the target',
      `${few("(1, 5, 'a'), (2, 6, 'a')")}create table t (id int primary key, code text unique);`,
      {},
      ['2'],
      /2: duplicate key value/,
    ],
    [
      'a key map that is not one to one',
      `${few("(1, 5, ''), (2, 6, ''), (3, 7, '')")}create table t (id int primary key, cents int);`,
      { id: 'id / 2' },
      ['3'],
      /3: duplicate key value violates unique constraint/,
    ],
    [
      'a key map that gives NULL',
      `${few("(1, 5, ''), (2, 6, '')")}create table t (id int primary key, cents int);`,
      { id: 'nullif(id, 2)' },
      ['2'],
      /2: null value in column "id"/,
    ],
  ];
  test.each(
    cases,
  )('%s: the rows are named, and the source is untouched', async (_, setup, given, keys, message) => {
    await db.pool.query(setup);
    const error = await expectRefused({ map: given }, 'MAP_FAILS', message);
    expect(error.detail.keys).toEqual(keys);
  });

  test('rows of a composite key are named by all of it, and at most ten of them', async () => {
    await db.pool.query(`
      create table s (a text, b int, x text, primary key (a, b)); create table t (a text, b int, x int, primary key (a, b));
      insert into s select 'k', i, 'bad' from generate_series(1, 30) i;`);
    const error = await expectRefused(
      { key: ['a', 'b'], map: { x: 'x::int' } },
      'MAP_FAILS',
      /k,1: invalid input/,
    );
    expect(error.detail.keys).toHaveLength(10);
  });
});

test('a name in the target that our schema has already', async () => {
  await db.pool.query(
    `${source}create table lane (id bigint primary key, amount numeric(12,2) not null, status text);`,
  );
  await expectRefused(
    { target: 'public.lane', map },
    'CONFLICT',
    /our schema already holds an object called lane;/,
    5,
  );
  await db.pool.query(`${target} alter index t_pkey rename to migration_event_pkey`);
  await expectRefused({ map }, 'CONFLICT', /called migration_event_pkey;/, 5);
});

test('a role that may not do what is needed', async () => {
  await db.pool.query(source + target);
  const role = `weak_${db.name}`;
  await db.pool.query(`create role ${role} login password 'weak'; grant all on s, t to ${role};`);
  try {
    const client = await db.client();
    await client.query(`set role ${role}`);
    const asWeak = { connect: async () => Object.assign(client, { release: () => undefined }) };
    const { error, checks } = await preflight(asWeak as never, migrationOf({ map }));
    expect(error).toMatchObject({ code: 'PRIVILEGE', exitCode: 3 });
    expect(checks.filter((check) => check.code === 'PRIVILEGE').map((check) => check.message)).toEqual(
      expect.arrayContaining([
        'missing: ownership of public.s',
        'missing: CREATE on schema public',
        expect.stringMatching(/missing: pg_read_all_stats/),
      ]),
    );
    await client.end();
  } finally {
    await db.pool.query(`drop owned by ${role}; drop role ${role}`);
  }
});
