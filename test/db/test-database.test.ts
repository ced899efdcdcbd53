import { Client } from 'pg';
import { expect, inject, test } from 'vitest';
import { dropTestDatabases, testDatabase } from '../support/database.ts';

test('each test database is on its own', async () => {
  const [a, b] = await Promise.all([testDatabase(), testDatabase()]);
  await a.pool.query('create table thing ()');
  const { rows } = await b.pool.query(
    "select to_regclass('public.thing') as thing, current_database() as name",
  );
  expect(rows).toEqual([{ thing: null, name: b.name }]);
});

test('statements are logged in a database that asks for it', async () => {
  const db = await testDatabase();
  await db.pool.query(`alter database ${db.name} set log_statement = 'all'`);
  const client = await db.client();
  expect((await client.query('show log_statement')).rows).toEqual([{ log_statement: 'all' }]);
  expect(inject('serverLogGlob')).toMatch(/\/log\/\*\.json$/);
});

test('what a test leaves open is told, and goes with the database', async () => {
  const db = await testDatabase();
  const forgotten = new Client({ connectionString: db.url, application_name: 'forgotten' });
  forgotten.on('error', () => {});
  await forgotten.connect();
  await forgotten.query("begin; create table thing (); prepare transaction 'undecided'");
  await db.client(); // ours to close

  expect(await dropTestDatabases()).toEqual([
    expect.stringMatching(/^backend of 'forgotten' \(idle\): begin;/),
    'prepared transaction undecided',
  ]);
  const again = new Client({ connectionString: db.url });
  await expect(again.connect()).rejects.toMatchObject({ code: '3D000' });
});
