import { expect, test } from 'vitest';
import { parseMigrationFile } from '../../src/config/migration-file.ts';
import { migrationDatabase } from '../support/migrations.ts';

/** Everything that decides how sure to be is left as it comes. */
const file = parseMigrationFile({
  name: 'm',
  source: 'public.s',
  target: 'public.t',
  key: ['id'],
  confidence: { window: '1s', every: '50ms' },
  cutover: { writes: 'auto' },
});

test.each([0, 1, 5, 60, 300, 3000])('a table of %i rows migrates with the default settings', async (rows) => {
  const db = await migrationDatabase(`
    create table s (id serial primary key, n int not null, tag text, made timestamptz);
    create table t (id bigint primary key, n int not null, tag text, made timestamptz);
    insert into s (n, tag, made) select i * i, nullif('x' || i % 7, 'x3'), now() - i * interval '1 hour'
      from generate_series(1, ${rows}) i;`);
  expect(await db.run(file)).toMatchObject({
    status: 'COMPLETED',
    verification: { compared: rows, missing: 0, extra: 0, different: 0 },
  });
  expect((await db.pool.query('select count(*)::int as n from s')).rows).toEqual([{ n: rows }]);
});

test('a table whose every row is certain has nothing left to estimate', async () => {
  const db = await migrationDatabase(`
    create table s (id int primary key, made timestamptz not null);
    create table t (id bigint primary key, made timestamptz not null);
    insert into s values (1, now());`);
  expect((await db.run({ ...file, signals: { createdAt: 'made' } })).status).toBe('COMPLETED');
  const { rows } = await db.pool.query(
    "select (confidence->>'random_members')::int as random from foreshadow.migration_status",
  );
  expect(rows).toEqual([{ random: 0 }]);
});

test('a shadow that is larger than its budget says why', async () => {
  const db = await migrationDatabase(`
    create table s (id serial primary key, n int not null);
    create table t (id bigint primary key, n int not null);
    insert into s (n) select i from generate_series(1, 60) i;`);
  await db.run(file, { until: 'READY' });
  const { rows } = await db.pool.query(
    "select sampling->'notes' as notes, (sampling->>'pi0')::float8 as pi0 from foreshadow.migration_status",
  );
  expect(rows).toEqual([
    {
      notes: expect.arrayContaining([
        expect.stringMatching(/random remainder of \d+ rows is too small .*: it gets all other rows/),
      ]),
      pi0: 1,
    },
  ]);
});
