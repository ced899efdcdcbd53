import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, inject, test, vi } from 'vitest';
import { batchesAfter } from '../../src/access/store.queries.ts';
import { run } from '../../src/cli/program.ts';
import type { Check } from '../../src/migration/preflight/checks.ts';
import { startMigration } from '../../src/pipeline.ts';
import { afterFile, type TestDatabase, testDatabase } from '../support/database.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';

let out = '';
let err = '';
beforeEach(() => {
  out = err = '';
  process.exitCode = undefined;
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text;
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'foreshadow-test-learn-'));
  afterFile(() => rm(path, { recursive: true }));
  return path;
}

async function foreshadow(db: TestDatabase, ...args: string[]): Promise<Record<string, unknown>> {
  out = '';
  const { exitCode } = await run(['node', 'foreshadow', '--database-url', db.url, ...args, '--json']);
  expect(exitCode, out + err).toBe(0);
  return JSON.parse(out);
}

/** What an application does, with everything that a log has to offer. */
async function application(db: TestDatabase): Promise<void> {
  await db.pool.query(`
    create schema app;
    create table app.orders (id bigint primary key, customer int, note text);
    create table other (id int primary key);
    create view app.open_orders as select id as order_id, note from app.orders where note is not null;
    create function app.touch(i int) returns void language sql as 'update app.orders set note = note where id = i';
    insert into app.orders select i, i % 10, 'x' from generate_series(1, 100) i;
    alter database ${db.name} set log_statement = 'all'`);
  const client = await db.client({ application_name: 'shop' });
  await client.query('select * from app.orders where id = $1', [1]);
  await client.query('set search_path to app');
  await client.query('update orders set note = $1 where id in ($2, 3)', ['secret words', 2]);
  await client.query('select * from open_orders where order_id = 4');
  await client.query('prepare one as select * from orders where id = $1');
  await client.query('execute one(5)');
  await client.query('select * from orders where customer = 7');
  await client.query('select * from orders where customer = 8');
  await client.query('select touch(6)');
  await client.query('copy (select * from orders) to stdout').catch(() => {});
  await client.query('select * from public.other where id = 9');
  await client.query('select * from orders where id = 1 / 0').catch(() => {});
  await client.query("select 'the end of learning'");
  await client.end();
}

/** The log collector is a moment behind the server. */
async function untilLogged(db: TestDatabase): Promise<string> {
  const glob = inject('serverLogGlob');
  for (let i = 0; i < 200; i++) {
    const found = await foreshadow(db, 'learn', '--log', glob, '--table', 'app.orders', '--dry-run');
    if ((found.accesses as { read: number }).read >= 3) return glob;
    await sleep(50);
  }
  throw new Error('the log never told of the end');
}

test('learn tells which rows a real log tells of, and which statements it cannot', async () => {
  const db = await testDatabase();
  await application(db);
  const glob = await untilLogged(db);
  const found = await foreshadow(db, 'learn', '--log', glob, '--table', 'app.orders', '--dry-run');
  expect(Object.keys(found)).toEqual([
    ...['schema', 'lines', 'executions', 'resolved', 'unresolved', 'keys', 'accesses', 'seconds'],
    ...['lines_per_s', 'mb_per_s', 'peak_rss_mb'],
  ]);
  expect(found).toMatchObject({
    schema: 1,
    resolved: 4,
    keys: 5,
    accesses: { read: 3, write: 2 },
    unresolved: [
      { shape: 'select * from orders where customer = ?', count: 2, reason: 'no condition on the key' },
      { shape: 'copy (select * from orders) to stdout', count: 1, reason: 'no condition: the whole table' },
      { shape: 'select touch(?)', count: 1, reason: expect.stringContaining('inside a function') },
    ],
  });
  expect(JSON.stringify(found)).not.toContain('secret');

  // the same for a person: coverage first
  out = '';
  await run([
    'node',
    'foreshadow',
    '--database-url',
    db.url,
    'learn',
    '--log',
    glob,
    '--table',
    'app.orders',
    '--dry-run',
  ]);
  expect(out.split('\n')[0]).toBe(
    '50.0 % of the 8 statements that touch app.orders say which rows: 3 reads and 2 writes of 5 rows',
  );
  expect(out).toContain('25.0 %  2      no condition on the key');
  expect(out).toContain('nothing was stored');

  // as events that `train` and `backtest` read
  const events = join(await folder(), 'events.csv.gz');
  await foreshadow(db, 'learn', '--log', glob, '--table', 'app.orders', '--out', events);
  const lines = gunzipSync(await readFile(events))
    .toString()
    .trim()
    .split('\n');
  expect(lines.map((line) => line.replace(/^[\d.]+,/, '')).sort()).toEqual(
    ['1,R', '2,W', '3,W', '4,R', '5,R', 'ts_seconds,key,op'].sort(),
  );

  // doctor says the same of the end of the log
  const migration = {
    name: 'm',
    source: 'app.orders',
    target: 'public.t',
    key: ['id'],
    queryLog: { path: glob },
  };
  const file = join(await folder(), 'm.json');
  await writeFile(file, JSON.stringify(migration));
  await db.pool.query('create table t (id bigint primary key, customer int, note text)');
  out = '';
  await run(['node', 'foreshadow', '--database-url', db.url, 'doctor', file, '--json']);
  const { checks } = JSON.parse(out) as { checks: Check[] };
  const said = checks.filter(({ id }) => id === 'query log').map(({ message }) => message);
  expect(said).toContain('every statement is logged (log_statement = all)');
  expect(said.join('\n')).toMatch(/show \d+ statements, \d+ bytes each/);
  expect(said.join('\n')).toMatch(/50 % of the 8 that touch app.orders tell their rows/);
});

test('other logs and a file of events go into the access store of a migration', async () => {
  const db = await migrationDatabase(`
    create table s (id int primary key, v int); create table t (id int primary key, v int);
    insert into s select i, i from generate_series(1, 50) i;`);
  const path = await folder();
  const line = (sql: string) =>
    `${JSON.stringify({ timestamp: '2026-05-01 12:00:00.000 UTC', user: 'u', dbname: db.name, pid: 1, session_id: 'a', error_severity: 'LOG', message: `statement: ${sql}`, application_name: 'app' })}\n`;
  await writeFile(join(path, 'own.json'), line('select * from s where id = 1'));
  await writeFile(
    join(path, 'old.json'),
    line('select * from s where id = 2') + line('delete from s where v = 3'),
  );
  await writeFile(join(path, 'events.csv'), 'ts_seconds,key,op\n1777636800,3,R\n1777636801,4,W\n');
  const migration = await startMigration(db.ctx, migrationOf({ queryLog: { path: join(path, 'own.json') } }));

  const dry = await foreshadow(db, 'learn', 'm', '--log', join(path, 'old.json'), '--dry-run');
  expect(dry).toMatchObject({ resolved: 1, unresolved: [{ count: 1 }] });
  await foreshadow(db, 'learn', 'm', '--log', join(path, 'old.json'));
  expect(await foreshadow(db, 'learn', 'm', '--events', join(path, 'events.csv'))).toEqual({
    schema: 1,
    accesses: 2,
    stored: 2,
  });
  await foreshadow(db, 'learn', 'm');
  const stored = await batchesAfter(db.ctx.pool, migration.id, 0, 100);
  expect(
    stored.map(({ source, accesses }) => `${source} ${accesses.map(({ key, op }) => op + key)}`).sort(),
  ).toEqual(['log R1', 'reported R2', 'reported R3,W4']);
});

test('usage', async () => {
  const db = await testDatabase();
  const refusal = async (...args: string[]) => {
    out = '';
    const { exitCode } = await run([
      'node',
      'foreshadow',
      '--database-url',
      db.url,
      'learn',
      ...args,
      '--json',
    ]);
    return [exitCode, JSON.parse(out).error.message];
  };
  await db.pool.query('create table bare (x int)');
  expect(await refusal('--table', 'x', '--dry-run')).toEqual([2, 'name the files with --log FILE…']);
  expect(await refusal('--log', 'x', '--dry-run')).toEqual([2, 'name the table with --table schema.table']);
  expect((await refusal('--log', 'x', '--table', 'x'))[1]).toContain('say what to do with what is found');
  expect(await refusal('--log', 'x', '--table', 'x', '--dry-run')).toEqual([3, 'there is no table public.x']);
  expect((await refusal('--log', 'x', '--table', 'bare', '--dry-run'))[0]).toBe(3);
  expect((await refusal('--log', '/nowhere/x', '--table', 'bare', '--key', 'x', '--dry-run'))[1]).toContain(
    '/nowhere/x',
  );
  expect((await refusal('--log', 'x', '--table', 'bare', '--format', 'xml', '--dry-run'))[1]).toContain(
    '--format',
  );
});
