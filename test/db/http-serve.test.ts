import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { afterFile, type TestDatabase, testDatabase } from '../support/database.ts';
import { rawSocket } from './http-rig.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

interface Served {
  readonly child: ChildProcess;
  /** the one document on stdout */
  readonly started: Promise<{
    url: string;
    docs: string;
    database_url: string | null;
    migration_file: string | null;
  }>;
  readonly ended: Promise<number | null>;
  stderr(): string;
}

function serve(env: Record<string, string>, ...flags: string[]): Served {
  const clean = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(PG|DATABASE_URL|FORESHADOW_)/.test(name)),
  );
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', main, 'serve', '--json', '--port', '0', ...flags],
    {
      env: { ...clean, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let out = '';
  let err = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (err += chunk));
  const started = new Promise<Awaited<Served['started']>>((resolve, reject) => {
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      out += chunk;
      if (out.endsWith('\n')) resolve(JSON.parse(out));
    });
    child.once('exit', (code) => reject(new Error(`it ended with ${code}: ${err}`)));
  });
  started.catch(() => {});
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  afterFile(async () => void child.kill('SIGKILL'));
  return { child, started, ended, stderr: () => err };
}

let db: TestDatabase;
let env: Record<string, string>;
beforeAll(async () => {
  db = await testDatabase();
  env = { DATABASE_URL: db.url };
});

describe('serve', () => {
  test('drains when it is told to stop: answers what came, ends streams and slow ones, leaves no connection', async () => {
    const served = serve(env);
    const { url, docs } = await served.started;
    expect(docs).toBe(`${url}/docs`);
    expect(await (await fetch(`${url}/health/ready`)).json()).toEqual({ status: 'ok', missing: [] });
    await db.pool.query('create table s (id int primary key); create table t (id int primary key)');
    const created = await fetch(`${url}/api/v1/migrations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'm', source: 'public.s', target: 'public.t', key: ['id'] }),
    });
    expect(created.status).toBe(202);
    const stream = await fetch(`${url}/api/v1/migrations/m/events`);
    const streamed = stream.text();
    const slow = rawSocket(Number(new URL(url).port));
    slow.socket.write('GET /health/live HTTP/1.1\r\nHost: localhost\r\n');

    const began = performance.now();
    served.child.kill('SIGTERM');
    expect(await streamed).toContain('event: ');
    expect(await served.ended).toBe(0);
    expect(performance.now() - began).toBeLessThan(10_000);
    await expect.poll(() => connections(db)).toEqual([]);
    expect(served.stderr()).toContain('"route":"/api/v1/migrations"');
  }, 60_000);

  test('a second signal ends it at once', async () => {
    const served = serve(env);
    const { url } = await served.started;
    const slow = rawSocket(Number(new URL(url).port));
    const lock = await db.client();
    await lock.query('begin; lock table foreshadow.migration_status');
    slow.socket.write('GET /api/v1/migrations HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await sleep(300);
    served.child.kill('SIGTERM');
    await sleep(300);
    expect(served.child.exitCode).toBeNull();
    served.child.kill('SIGTERM');
    const began = performance.now();
    expect(await served.ended).toBe(130);
    expect(performance.now() - began).toBeLessThan(1_500);
    await lock.query('rollback');
  }, 60_000);

  test('and when something hangs, it is gone after ten seconds anyway', async () => {
    const served = serve(env);
    const { url } = await served.started;
    const slow = rawSocket(Number(new URL(url).port));
    const lock = await db.client();
    await lock.query('begin; lock table foreshadow.migration_status');
    slow.socket.write('GET /api/v1/migrations HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await sleep(300);
    served.child.kill('SIGTERM');
    const began = performance.now();
    await served.ended;
    expect(performance.now() - began).toBeLessThan(11_000);
    await lock.query('rollback');
  }, 60_000);

  test.each([
    [{ FORESHADOW_HOST: '0.0.0.0' }, 2, /beyond this machine, needs FORESHADOW_TOKENS/],
    [{ FORESHADOW_TOKENS: 'a:admin:sesame' }, 2, /at least 16 characters/],
    [{ DATABASE_URL: 'postgres://127.0.0.1:1/x' }, 6, /cannot reach the database/],
  ])(
    'does not start with %j',
    async (more, code, says) => {
      const served = serve({ ...env, ...more });
      expect(await served.ended).toBe(code);
      expect(served.stderr()).toMatch(says);
      expect(served.stderr()).not.toContain('sesame');
    },
    30_000,
  );

  test('says so when its port is taken', async () => {
    const first = serve(env);
    const { url } = await first.started;
    const second = serve(env, '--port', new URL(url).port);
    expect(await second.ended).toBe(2);
    expect(second.stderr()).toMatch(/cannot listen on 127\.0\.0\.1, port \d+/);
    first.child.kill('SIGTERM');
    expect(await first.ended).toBe(0);
  }, 60_000);

  test('without a database: a live shop on a throw-away one, its orders migrated and scored', async () => {
    const served = serve({});
    const { url, migration_file: path } = await served.started;
    const json = async (route: string, body?: string) => {
      const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: body as string };
      const response = await fetch(`${url}/api/v1/${route}`, body === undefined ? {} : post);
      return { status: response.status, body: (await response.json()) as Record<string, never> };
    };
    expect((await json('migrations', await readFile(path as string, 'utf8'))).status).toBe(202);
    await expect
      .poll(async () => (await json('migrations/orders-v2/status')).body.status, {
        timeout: 120_000,
        interval: 300,
      })
      .toBe('COMPLETED');
    const { body: status } = await json('migrations/orders-v2/status');
    expect(status.verification).toMatchObject({ missing: 0, extra: 0, different: 0 });
    const asked = JSON.stringify({ migration: 'orders-v2', keys: [['1'], ['no such order']] });
    const { body: answer } = await json('scores', asked);
    expect(answer.scores).toMatchObject([{ key: ['1'] }, { key: ['no such order'], known: false }]);
    served.child.kill('SIGTERM');
    expect(await served.ended).toBe(0);
    expect(served.stderr()).not.toMatch(/"level":(50|60)/);
  }, 180_000);
});

async function connections({ pool, name }: TestDatabase): Promise<unknown[]> {
  const { rows } = await pool.query(
    "select application_name, state, query from pg_stat_activity where datname = $1 and application_name like 'foreshadow%'",
    [name],
  );
  return rows;
}
