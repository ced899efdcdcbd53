import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { run } from '../../src/cli/program.ts';
import type { MigrationFile } from '../../src/config/migration-file.ts';
import { afterFile, type TestDatabase, testDatabase } from '../support/database.ts';
import { migrationOf, type Part } from '../support/migrations.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const children = new Set<ChildProcess>();
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foreshadow-cli-'));
  afterFile(async () => {
    for (const child of children) child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** The command line as a process of its own. */
function start(db: TestDatabase | null, args: readonly string[], env: Record<string, string> = {}) {
  const { DATABASE_URL: _, ...rest } = process.env;
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], {
    cwd: root,
    env: {
      ...rest,
      FORESHADOW_MODELS: join(folder, 'models'),
      ...(db ? { DATABASE_URL: db.url } : {}),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 40_000,
    killSignal: 'SIGKILL',
  });
  children.add(child);
  let out = '';
  let err = '';
  let told = () => {};
  let waitsFor: RegExp | null = null;
  child.stdout.on('data', (text) => (out += text));
  child.stderr.on('data', (text) => {
    err += text;
    if (waitsFor?.test(err)) told();
  });
  const ended: Promise<Ended> = once(child, 'close').then(([code]) => {
    children.delete(child);
    return { code, out, err };
  });
  /** resolves when stderr says it */
  const says = (what: RegExp) =>
    Promise.race([
      new Promise<void>((resolve) => {
        waitsFor = what;
        told = resolve;
        if (what.test(err)) resolve();
      }),
      ended.then(() => Promise.reject(new Error(`ended without saying ${what}: ${err}`))),
    ]);
  return { process: child, ended, says };
}

/** The same within this process, which is quicker: what it writes, and its exit code. One at a time. */
async function foreshadow(db: TestDatabase | null, ...args: string[]): Promise<Ended> {
  let out = '';
  let err = '';
  const stdout = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text;
    return true;
  });
  const stderr = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text;
    return true;
  });
  vi.stubEnv('DATABASE_URL', db?.url);
  vi.stubEnv('FORESHADOW_MODELS', join(folder, 'models'));
  try {
    const { exitCode } = await run(['node', 'foreshadow', ...args]);
    return { code: exitCode, out, err };
  } finally {
    process.exitCode = undefined;
    stdout.mockRestore();
    stderr.mockRestore();
    vi.unstubAllEnvs();
  }
}

/** Exactly one JSON document, with "schema": 1, and nothing else on stdout. */
async function json(db: TestDatabase | null, code: number, ...args: string[]) {
  const ended = await foreshadow(db, ...args, '--json');
  expect(ended.code, ended.err).toBe(code);
  expect(ended.out.trimEnd().split('\n')).toHaveLength(1);
  const document = JSON.parse(ended.out);
  expect(document.schema).toBe(1);
  if (code === 0) expect(document).not.toHaveProperty('error.code');
  else if (document.error) {
    expect(document.error).toMatchObject({ exit_code: code, hint: expect.stringMatching(/\w/) });
    expect(ended.err).toContain(document.error.message);
  }
  return document;
}

async function fileOf(given: Part<MigrationFile> = {}): Promise<string> {
  const path = join(folder, `${given.name ?? 'm'}-${Math.floor(performance.now())}.json`);
  await writeFile(path, JSON.stringify(migrationOf(given)));
  return path;
}

const tables = `
  create table s (id serial primary key, cents int not null, status text);
  create table t (id bigint primary key, amount numeric(12,2) not null, status text);
  insert into s (cents, status) select i * 10, 'open' from generate_series(1, 400) i;`;
const map = { amount: 'cents / 100.0' };

describe('before init', () => {
  test('as processes: streams and exit codes', async () => {
    const db = await testDatabase();
    const help = await start(null, ['--help']).ended;
    expect(help).toMatchObject({ code: 0, out: expect.stringMatching(/Usage: foreshadow/), err: '' });
    const unknown = await start(null, ['migrate', '--json']).ended;
    expect(unknown).toMatchObject({ code: 2, err: expect.stringMatching(/unknown command/) });
    expect(JSON.parse(unknown.out)).toMatchObject({ schema: 1, error: { code: 'USAGE' } });
    const status = await start(db, ['status']).ended;
    expect(status).toMatchObject({
      code: 4,
      out: '',
      err: expect.stringMatching(/^foreshadow: .*\n {2}Run: foreshadow init\n$/),
    });
  }, 60_000);

  test('verbs that need our schema say so', async () => {
    const db = await testDatabase();
    const keys = join(folder, 'keys');
    await writeFile(keys, '1\n2\n');
    for (const args of [
      ['status'],
      ['status', 'm'],
      ['abort', 'm'],
      ['verify', 'm'],
      ['cutover', 'm', '--reads'],
      ['explain', 'm', '1'],
      ['score', 'm', '--keys', keys],
      ['train', 'm'],
    ])
      expect((await json(db, 4, ...args)).error).toMatchObject({
        code: 'NOT_INITIALISED',
        hint: 'Run: foreshadow init',
      });
    expect(await json(db, 0, 'uninstall')).toEqual({ schema: 1, aborted: [], dropped: [] });
  }, 90_000);

  test('init, twice; then an unknown name is the user’s mistake', async () => {
    const db = await testDatabase();
    const first = await json(db, 0, 'init');
    expect(first).toMatchObject({ from: 0, to: expect.any(Number) });
    expect(await json(db, 0, 'init')).toEqual({ schema: 1, from: first.to, to: first.to });
    expect(await json(db, 0, 'status')).toEqual({ schema: 1, migrations: [] });
    for (const args of [
      ['status', 'nobody'],
      ['abort', 'nobody'],
      ['verify', 'nobody'],
      ['cutover', 'nobody', '--writes'],
      ['explain', 'nobody', '1'],
      ['train', 'nobody'],
    ])
      expect((await json(db, 2, ...args)).error).toMatchObject({
        code: 'MIGRATION_UNKNOWN',
        message: 'there is no migration called nobody',
      });
  }, 90_000);
});

test('doctor looks and changes nothing', async () => {
  const db = await testDatabase();
  await db.pool.query(tables);
  const good = await json(db, 0, 'doctor', await fileOf({ map }));
  expect(good.ok).toBe(true);
  expect(good.checks).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ id: 'map', status: 'ok' }),
      expect.objectContaining({ id: 'schema', status: 'warn' }),
    ]),
  );
  const bad = await json(
    db,
    3,
    'doctor',
    await fileOf({ map: { amount: 'now()' }, source: 'public.s' }),
    '--disk-free',
    '1',
  );
  expect(bad.ok).toBe(false);
  expect(
    bad.checks
      .filter((check: { status: string }) => check.status === 'refuse')
      .map((check: { code: string }) => check.code),
  ).toEqual(['MAP_NOT_IMMUTABLE', 'DISK']);
  const text = await foreshadow(db, 'doctor', await fileOf({ map: { amount: 'extract(epoch from now())' } }));
  expect(text.code).toBe(3);
  expect(text.out).toMatch(/REFUSED +map +map of "amount" is not immutable.*Use an immutable form/);
  expect((await db.pool.query("select to_regnamespace('foreshadow') as ours")).rows).toEqual([
    { ours: null },
  ]);
}, 60_000);

test('a whole migration, stop by stop, each verb in its turn and out of it', async () => {
  const db = await testDatabase();
  await db.pool.query(tables);
  const operator = await fileOf({ map, cutover: { reads: 'operator', writes: 'operator' } });
  expect((await json(db, 3, 'run', operator, '--disk-free', '1')).error).toMatchObject({ code: 'DISK' });
  expect(await json(db, 0, 'run', operator, '--until', 'shadowing')).toMatchObject({
    name: 'm',
    status: 'SHADOWING',
    read_from: 'source',
    write_to: 'source',
  });
  expect((await json(db, 3, 'cutover', 'm', '--reads')).error).toMatchObject({ code: 'GATE_SHUT' });
  expect((await json(db, 5, 'verify', 'm')).error).toMatchObject({ code: 'CONFLICT' });
  expect(await json(db, 0, 'run', operator, '--until', 'READY')).toMatchObject({
    status: 'READY',
    gate: { open: true },
  });
  expect((await json(db, 3, 'cutover', 'm', '--writes')).error).toMatchObject({ code: 'GATE_SHUT' });
  expect(await json(db, 0, 'explain', 'm', '1')).toMatchObject({ name: 'm', key: '1', in_source: true });
  expect((await json(db, 2, 'explain', 'm', 'one')).error).toMatchObject({ code: 'USAGE' });
  expect((await json(db, 2, 'explain', 'm', '1', '2')).error).toMatchObject({ code: 'USAGE' });
  const keys = join(folder, 'keys');
  await writeFile(keys, '1\n2\n');
  expect((await json(db, 3, 'score', 'm', '--keys', keys)).error).toMatchObject({ code: 'MODEL_REFUSED' });
  expect((await json(db, 2, 'train', 'm')).error).toMatchObject({ code: 'LOG_UNREADABLE' });
  expect(await json(db, 0, 'cutover', 'm', '--reads')).toMatchObject({
    status: 'IN_PROGRESS',
    read_from: 'overlay',
  });

  // copies, and then waits for us; Ctrl-C
  const child = start(db, ['run', operator, '--json']);
  await child.says(/waiting for the operator: foreshadow cutover m --writes/);
  expect(await json(db, 0, 'verify', 'm')).toMatchObject({
    name: 'm',
    missing: 0,
    extra: 0,
    different: 0,
    compared: 400,
  });
  const second = await json(db, 5, 'run', operator);
  expect(second.error).toMatchObject({ code: 'ALREADY_RUNNING' });
  child.process.kill('SIGINT');
  const interrupted = await child.ended;
  expect(interrupted.code).toBe(130);
  expect(interrupted.err).toMatch(/stopping at the next safe point/);
  expect(JSON.parse(interrupted.out)).toMatchObject({
    schema: 1,
    error: { code: 'INTERRUPTED', exit_code: 130, hint: expect.stringMatching(/same command again/) },
  });

  // a row that nobody copied, behind our back: told by verify as one document
  await db.pool.query('delete from foreshadow.t where id = 7');
  expect((await json(db, 7, 'verify', 'm')).error).toMatchObject({
    code: 'VERIFICATION_FAILED',
    detail: { missing: 1, keys: { missing: ['7'] } },
  });
  await db.pool.query("insert into foreshadow.t values (7, 0.7, 'open')");

  const done = await json(
    db,
    0,
    'run',
    await fileOf({ map, cutover: { reads: 'operator', writes: 'auto' } }),
  );
  expect(done).toMatchObject({
    status: 'COMPLETED',
    read_from: 'target',
    write_to: 'target',
    verification: { missing: 0, extra: 0, different: 0 },
  });
  expect((await json(db, 0, 'status')).migrations).toMatchObject([{ name: 'm', status: 'COMPLETED' }]);
  expect((await json(db, 5, 'abort', 'm')).error).toMatchObject({ code: 'CONFLICT' });
  const text = await foreshadow(db, 'status', 'm');
  expect(text).toMatchObject({ code: 0, out: expect.stringMatching(/^migration +m\nstate +COMPLETED\n/) });
  expect((await json(db, 5, 'uninstall')).error).toMatchObject({
    code: 'CONFLICT',
    message: expect.stringMatching(/foreshadow\.s_old/),
  });
  expect(await json(db, 0, 'uninstall', '--drop-old-tables')).toEqual({
    schema: 1,
    aborted: [],
    dropped: ['schema foreshadow'],
  });
  expect(
    (
      await db.pool.query(
        "select to_regnamespace('foreshadow') as ours, (select count(*)::int from s) as rows",
      )
    ).rows,
  ).toEqual([{ ours: null, rows: 400 }]);
}, 150_000);

test('SIGTERM in the middle of the copy, and the same command again', async () => {
  const db = await testDatabase();
  await db.pool.query(tables);
  const slow = await fileOf({ map, copy: { chunkRows: 20, rowsPerSecond: 100 } });
  const child = start(db, ['run', slow]);
  await child.says(/copy \d+\/400 rows/);
  child.process.kill('SIGTERM');
  const { code, out } = await child.ended;
  expect({ code, out }).toEqual({ code: 130, out: '' });
  const again = await foreshadow(db, 'run', await fileOf({ map }));
  expect(again.code, again.err).toBe(0);
  expect(again.out).toMatch(/state +COMPLETED\n[\s\S]*verified +400 rows: 0 missing, 0 extra, 0 different/);
  expect(again.err).toMatch(/→ COMPLETED/);
}, 90_000);

test('abort by hand', async () => {
  const db = await testDatabase();
  await db.pool.query(tables);
  expect((await foreshadow(db, 'run', await fileOf({ map }), '--until', 'SHADOWING')).code).toBe(0);
  expect(await json(db, 0, 'abort', 'm', '--grace', '0')).toMatchObject({ name: 'm', status: 'ABORTED' });
  expect((await db.pool.query('select relkind from pg_class where oid = $1::regclass', ['t'])).rows).toEqual([
    { relkind: 'r' },
  ]);
}, 60_000);

describe('what ends a command early', () => {
  test('a database that cannot be reached', async () => {
    expect(
      (await json(null, 6, 'status', '--database-url', 'postgres://a:sesame@127.0.0.1:1/x')).error,
    ).toMatchObject({ code: 'DATABASE_UNREACHABLE' });
    const db = await testDatabase();
    const url = new URL(db.url);
    url.password = 'sesame';
    const ended = await start(null, ['status', '--json'], { DATABASE_URL: url.href }).ended;
    expect(ended.code).toBe(6);
    expect(ended.out + ended.err).not.toContain('sesame');
  }, 60_000);

  test('a file that is not JSON', async () => {
    const path = join(folder, 'broken.json');
    await writeFile(path, '{"name": "m",');
    expect((await json(null, 2, 'run', path)).error).toMatchObject({
      code: 'BAD_MIGRATION_FILE',
      message: expect.stringMatching(/is not JSON/),
    });
  });

  test('a role that may not create our schema', async () => {
    const db = await testDatabase();
    await db.pool.query(`create role weak_${db.name} login password 'weak'`);
    const url = new URL(db.url);
    [url.username, url.password] = [`weak_${db.name}`, 'weak'];
    try {
      const ended = await start(null, ['init', '--json'], { DATABASE_URL: url.href }).ended;
      expect(JSON.parse(ended.out).error).toMatchObject({
        code: 'PRIVILEGE',
        exit_code: 3,
        message: expect.stringMatching(/permission denied for database/),
      });
      expect(ended.code).toBe(3);
    } finally {
      await db.pool.query(`drop role weak_${db.name}`);
    }
  });
});
