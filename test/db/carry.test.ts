import { expect, test } from 'vitest';
import { initSchema } from '../../src/db/migrate.ts';
import { uninstall } from '../../src/migration/abort.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { catalogueOf } from '../support/catalogue.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf, said } from '../support/migrations.ts';

const list = async (db: MigrationDatabase, sql: string) =>
  (await db.pool.query<Record<string, unknown>>(sql)).rows.map((row) => Object.values(row)[0]);
const indexesOf = (db: MigrationDatabase, table: string) =>
  list(
    db,
    `select replace(pg_get_indexdef(indexrelid), 'public.', '') from pg_index where indrelid = '${table}'::regclass order by 1`,
  );
const constraintsOf = (db: MigrationDatabase, table: string) =>
  list(
    db,
    `select conname || ' ' || pg_get_constraintdef(oid) || case when convalidated then '' else ' unvalidated' end
       from pg_constraint where conrelid = '${table}'::regclass and contype <> 'n' order by 1`,
  );

test('defaults, indexes, constraints, comments and generated columns are there after the swap', async () => {
  const db = await migrationDatabase(`
    create sequence numbers;
    create table s (
      id int primary key, cents int not null check (cents >= 0), status text not null default 'open', tag text, code text unique,
      made timestamptz default now(), number bigint default nextval('numbers'), old_only text default 'gone',
      constraint tagged check (tag is null or length(tag) < 10), constraint of_both check (cents > 0 or old_only is null));
    create index s_status on s (status);
    create index s_open on s (made desc nulls last) include (tag) where status = 'open';
    create index s_lower on s (lower(tag), status);
    create index s_hash on s using hash (tag);
    create index s_old on s (old_only);
    create index s_mixed on s (status, cents);
    create unique index s_tag_status on s (tag, status) nulls not distinct;
    comment on table s is 'It''s the rows'; comment on column s.tag is 'a tag'; comment on column s.status is 'of the source';
    create table t (
      id bigint primary key, amount numeric(12,2) not null constraint positive check (amount >= 0), status text not null, tag text, code text,
      made timestamptz default '2000-01-01', number bigint, upper_code text, double numeric generated always as (amount * 2) stored,
      constraint code_key unique (code) with (fillfactor = 70), constraint late unique (upper_code) deferrable initially deferred);
    create unique index t_expression on t (lower(code)) where status = 'open';
    create unique index "t weird USING "" ON name" on t (number, upper_code);
    create index t_amount on t (amount);
    comment on constraint code_key on t is 'codes'; comment on index t_expression is 'of an expression'; comment on column t.status is 'of the target';
    insert into s (id, cents, tag, code) select i, i * 10, case when i % 3 > 0 then 't' || i end, 'C' || i from generate_series(1, 300) i where i % 3 > 0 or i = 3;`);
  const targetIndexes = await indexesOf(db, 't');
  const status = await db.run(migrationOf({ map: { amount: 'cents / 100.0', upper_code: 'upper(code)' } }));
  expect(status).toMatchObject({ status: 'COMPLETED', verification: { missing: 0, extra: 0, different: 0 } });

  expect(await indexesOf(db, 's')).toEqual(
    [
      ...targetIndexes.map((sql) => String(sql).replace(/ ON t /, ' ON s ')),
      'CREATE INDEX s_hash ON s USING hash (tag)',
      'CREATE INDEX s_lower ON s USING btree (lower(tag), status)',
      "CREATE INDEX s_open ON s USING btree (made DESC NULLS LAST) INCLUDE (tag) WHERE (status = 'open'::text)",
      'CREATE INDEX s_status ON s USING btree (status)',
      'CREATE UNIQUE INDEX s_tag_status ON s USING btree (tag, status) NULLS NOT DISTINCT',
    ].sort(),
  );
  expect(
    await list(
      db,
      `select count(*) filter (where not indisvalid)::int from pg_index where indrelid = 's'::regclass`,
    ),
  ).toEqual([0]);
  expect(await constraintsOf(db, 's')).toEqual(
    [
      'code_key UNIQUE (code)',
      'late UNIQUE (upper_code) DEFERRABLE INITIALLY DEFERRED',
      'positive CHECK ((amount >= (0)::numeric))',
      't_pkey PRIMARY KEY (id)',
      'tagged CHECK (((tag IS NULL) OR (length(tag) < 10)))',
    ].sort(),
  );
  expect(
    await list(
      db,
      `select a.attname || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '-') || ' ' || coalesce(col_description(a.attrelid, a.attnum), '-')
         from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = 's'::regclass and a.attnum > 0 order by a.attnum`,
    ),
  ).toEqual([
    'id - -',
    'amount - -',
    "status 'open'::text of the target",
    'tag - a tag',
    'code - -',
    "made '2000-01-01 00:00:00+00'::timestamp with time zone -",
    "number nextval('numbers'::regclass) -",
    'upper_code - -',
    'double (amount * (2)::numeric) -',
  ]);
  expect(await list(db, `select obj_description('s'::regclass)`)).toEqual(["It's the rows"]);
  expect(await list(db, `select obj_description(oid) from pg_constraint where conname = 'code_key'`)).toEqual(
    ['codes'],
  );
  expect(await list(db, `select obj_description('t_expression'::regclass)`)).toEqual(['of an expression']);
  // and it works: defaults, the deferred constraint, the generated column
  await db.pool.query("insert into s (id, amount, code, tag) values (1000, 5, 'new', 'n')");
  expect(
    (
      await db.pool.query(
        'select status, number is not null as numbered, double::text from s where id = 1000',
      )
    ).rows,
  ).toEqual([{ status: 'open', numbered: true, double: '10.00' }]);
  await expect(
    db.pool.query("insert into s (id, amount, tag) values (1001, 5, 'much too long a tag')"),
  ).rejects.toThrow(/tagged/);
  await expect(db.pool.query("update s set code = 'C1' where id = 1000")).rejects.toThrow(/code_key/);

  const options = { clock: db.ctx.clock, grace: 0 };
  await expect(uninstall(db.pool, { ...options, dropOldTables: false })).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringMatching(/foreshadow\.s_old.*--drop-old-tables/),
  });
  expect(await list(db, 'select count(*)::int from foreshadow.s_old')).toEqual([201]);
  const before = await catalogueOf(db.pool, 'foreshadow');
  await uninstall(db.pool, { ...options, dropOldTables: true });
  const after = await catalogueOf(db.pool);
  expect(after.filter((line) => /foreshadow/.test(line))).toEqual([]);
  // only the overlay goes; the table stays as it was
  expect(after).toEqual(
    before.filter((line) => !/^(relation|column): public\.t |^rule: |foreshadow/.test(line)),
  );
});

test('a default goes along to another type, by the conversion of the map; one of another value stays, by name', async () => {
  const db = await migrationDatabase(`
    create type mood as enum ('good', 'bad');
    create table s (id int primary key, hits int not null default 0, part real default 0.5, label varchar(10) default 'new',
      code text default 'c', yes boolean default true, list int[] default '{1,2}', unique_id uuid default gen_random_uuid(),
      shifted int default 5, given int default 1, own int default 1, gone int default 3, feeling mood default 'good');
    create table t (id bigint primary key, hits bigint not null, part float8, label text,
      code varchar(20), yes bigint, list bigint[], unique_id text,
      shifted bigint, given bigint default 2, own bigint generated by default as identity, feeling text);
    insert into s (id) select generate_series(1, 30);`);
  const file = migrationOf({
    map: {
      code: 'code::varchar(20)',
      yes: 'yes::int',
      list: 'list::bigint[]',
      unique_id: 'unique_id::text',
      shifted: 'shifted + 1',
      feeling: "case feeling when 'good' then 'g' else 'b' end",
    },
  });
  const { checks, error } = await preflight(db.ctx.pool, file);
  expect(error).toBeNull();
  expect(said(checks, 'parts of source')).toEqual([
    [
      'ok',
      'go along where the target has none of its own: default of code, default of hits, default of label, default of list, default of part, default of unique_id, default of yes',
    ],
    [
      'warn',
      'stay with the old table, since the map changes their columns: default of feeling (over feeling), default of shifted (over shifted)',
    ],
  ]);
  expect((await db.run(file)).status).toBe('COMPLETED');
  const { rows } = await db.pool.query(
    `insert into s (id) values (99) returning hits::int, part, label, code, yes::int, list::text, length(unique_id) as unique_id, shifted, given::int, own::int, feeling`,
  );
  expect(rows).toEqual([
    {
      hits: 0,
      part: 0.5,
      label: 'new',
      code: 'c',
      yes: 1,
      list: '{1,2}',
      unique_id: 36,
      shifted: null,
      given: 2,
      own: 1,
      feeling: null,
    },
  ]);
});

test('grants and owner: a role without ownership reads the overlay before, and reads and writes after', async () => {
  const db = await migrationDatabase();
  const [app, clerk, owner, reader] = ['app', 'clerk', 'owner', 'reader'].map(
    (role) => `${role}_${db.name}`,
  ) as [string, string, string, string];
  await db.pool.query(`create role ${app}; create role ${clerk}; create role ${owner}; create role ${reader};
    create table s (id serial primary key, n int not null, secret text);
    create table t (id bigserial primary key, n int not null, secret text);
    insert into s (n) select i from generate_series(1, 200) i;
    alter table s owner to ${owner};
    grant select, insert, update, delete on s to ${app} with grant option; grant usage on sequence s_id_seq to ${app};
    grant select (id, n), update (n) on s to ${clerk};
    grant select on t to ${reader}; grant usage, create on schema public to ${owner}; grant usage on schema public to public;`);
  try {
    const as = async (role: string, sql: string) => {
      const client = await db.client();
      await client.query(`set role ${role}`);
      const result = await client.query(sql).then(
        (done) => done.rows[0] ?? 'done',
        (error: Error) => error.message,
      );
      await client.end();
      return result;
    };
    const file = migrationOf({ cutover: { writes: 'operator' } });
    await db.run(file, { until: 'SHADOWING' });
    expect(await as(app, 'select count(*)::int as n from t')).toEqual({ n: 200 });
    expect(await as(reader, 'select count(*)::int as n from t')).toEqual({ n: 200 });
    expect(await as(clerk, 'select sum(n)::int as n, count(id)::int as c from t')).toEqual({
      n: 20100,
      c: 200,
    });
    expect(await as(clerk, 'select secret from t')).toMatch(/permission denied/);
    expect(await as(app, 'select * from foreshadow.member_1')).toMatch(/permission denied/);

    const done = await db.run(migrationOf());
    expect(done.status).toBe('COMPLETED');
    expect(await as(app, 'insert into s (n) values (1000) returning id::int')).toEqual({ id: 201 });
    expect(await as(app, 'update s set n = 5 where id = 1 returning n')).toEqual({ n: 5 });
    expect(await as(app, 'delete from s where id = 2')).toBe('done');
    expect(await as(clerk, 'select max(n)::int as n from s')).toEqual({ n: 1000 });
    expect(await as(clerk, 'update s set n = 6 where id = 1')).toBe('done');
    expect(await as(clerk, 'select secret from s')).toMatch(/permission denied/);
    expect(await as(clerk, 'insert into s (n) values (1)')).toMatch(/permission denied/);
    expect(await as(reader, 'select count(*)::int as n from s')).toEqual({ n: 200 });
    expect(await list(db, `select relowner::regrole::text from pg_class where oid = 's'::regclass`)).toEqual([
      owner,
    ]);
    expect(
      await list(
        db,
        `select is_grantable from information_schema.role_table_grants where table_name = 's' and grantee = '${app}' and privilege_type = 'SELECT'`,
      ),
    ).toEqual(['YES']);
  } finally {
    for (const role of [app, clerk, owner, reader])
      await db.pool.query(`drop owned by ${role} cascade; drop role ${role}`);
  }
});

test('route: both names stay, S’s index names do not stand in the way, and late writers to S are told to ask again', async () => {
  const db = await migrationDatabase(`
    create table s (id serial primary key, n int not null, tag text);
    create index s_tag on s (tag);
    create table t (id bigint primary key, n int not null, tag text);
    insert into s (n) select i from generate_series(1, 200) i;`);
  const before = await catalogueOf(db.pool);
  const status = await db.run(migrationOf({ cutover: { finish: 'route' } }));
  expect(status).toMatchObject({ status: 'COMPLETED', read_from: 'target', write_to: 'target' });
  expect(await list(db, 'select count(*)::int from t')).toEqual([200]);
  expect((await db.pool.query(`select * from foreshadow.route('m')`)).rows).toMatchObject([
    { read_from: 't', write_to: 't' },
  ]);
  for (const sql of ['insert into s (n) values (1)', 'update s set n = 0', 'delete from s', 'truncate s']) {
    await expect(db.pool.query(sql)).rejects.toMatchObject({
      code: '40001',
      message: expect.stringMatching(/writes to "public"\."s" have moved to "public"\."t"/),
      hint: expect.stringMatching(/route\(\)/),
    });
  }
  expect(await list(db, 'select count(*)::int from s')).toEqual([200]);
  // numbers go on in T
  expect((await db.pool.query('insert into t (n) values (1) returning id::int')).rows).toEqual([{ id: 201 }]);
  expect(await indexesOf(db, 't')).toEqual([
    expect.stringMatching(/INDEX \S*tag\S* ON t USING btree \(tag\)/),
    'CREATE UNIQUE INDEX t_pkey ON t USING btree (id)',
  ]);
  await uninstall(db.pool, { clock: db.ctx.clock, grace: 0, dropOldTables: false });
  const after = await catalogueOf(db.pool);
  expect(after.filter((line) => /foreshadow/.test(line))).toEqual([]);
  expect(after.filter((line) => /\bs\b/.test(line) && !/sequence|s_id_seq/.test(line))).toEqual(
    before.filter((line) => /\bs\b/.test(line) && !/foreshadow|sequence|s_id_seq/.test(line)),
  );
  await db.pool.query('insert into s (id, n) values (5000, 1)'); // writable again
});

test('tables of the same name in two schemas, with the same names of indexes and constraints', async () => {
  const db = await migrationDatabase(`
    create schema old; create schema new;
    create table old.orders (id serial primary key, n int unique, tag text check (tag <> ''));
    create index orders_tag on old.orders (tag);
    create table new.orders (id bigserial primary key, n int unique, tag text check (tag <> ''));
    create index orders_tag on new.orders (tag);
    insert into old.orders (n) select i from generate_series(1, 200) i;`);
  const status = await db.run(migrationOf({ source: 'old.orders', target: 'new.orders' }));
  expect(status.status).toBe('COMPLETED');
  expect(
    await list(
      db,
      `select format_type(atttypid, 0) from pg_attribute where attrelid = 'old.orders'::regclass and attname = 'id'`,
    ),
  ).toEqual(['bigint']);
  expect((await db.pool.query('insert into old.orders (n) values (1000) returning id::int')).rows).toEqual([
    { id: 201 },
  ]);
  expect(
    await list(
      db,
      `select indexrelid::regclass::text from pg_index where indrelid = 'old.orders'::regclass order by 1`,
    ),
  ).toEqual(['old.orders_n_key', 'old.orders_pkey', 'old.orders_tag']);
  expect(await list(db, 'select count(*)::int from foreshadow.orders_old')).toEqual([200]);
});

test('a unique constraint that only S has comes along as one', async () => {
  const db = await migrationDatabase(`
    create table s (id int primary key, code text, constraint s_code unique (code)); create table t (id bigint primary key, code text);
    insert into s select i, 'c' || i from generate_series(1, 100) i;`);
  expect((await db.run(migrationOf())).status).toBe('COMPLETED');
  expect(await constraintsOf(db, 's')).toEqual(['s_code UNIQUE (code)', 't_pkey PRIMARY KEY (id)']);
  await db.pool
    .query(
      `insert into s values (1, 'c5') on conflict on constraint s_code do update set code = excluded.code where false`,
    )
    .catch((error) => {
      expect(error.message).toMatch(/t_pkey/);
    });
});

test('a second migration of the same table waits until the first is cleared away', async () => {
  const db = await migrationDatabase(`
    create table s (id int primary key, n int); create table t (id bigint primary key, n int); create table u (id bigint primary key, n bigint);
    insert into s select i, i from generate_series(1, 100) i;`);
  const options = { clock: db.ctx.clock, grace: 0, dropOldTables: true };
  const second = migrationOf({ name: 'second', target: 'public.u' });
  expect((await db.run(migrationOf())).status).toBe('COMPLETED');
  await expect(db.run(second)).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringMatching(/can still be rolled back; abort or finalize it first/),
    detail: {
      also: [
        expect.stringMatching(/view public\.t depends on it/),
        expect.stringMatching(/our schema already holds an object called s_old/),
      ],
    },
  });
  await uninstall(db.pool, options);
  await initSchema(db.ctx.pool);
  expect((await db.run(second)).status).toBe('COMPLETED');
  expect(await list(db, 'select sum(n)::int from s')).toEqual([5050]);
});

test('no trigger of a view can be switched off, so there is no state of it that the swap would have to keep', async () => {
  const db = await migrationDatabase(`
    create table s (id int primary key); create view seen as select id from s;
    create function put() returns trigger language plpgsql as 'begin return null; end';
    create trigger instead instead of insert on seen for each row execute function put();`);
  for (const state of ['disable', 'enable always', 'enable replica'])
    await expect(db.pool.query(`alter table seen ${state} trigger instead`)).rejects.toThrow(
      /cannot be performed on relation "seen"/,
    );
});
