import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { startEmbedded } from '../../src/db/embedded.ts';
import { embeddedPackage, preparePackage } from '../../src/db/embedded-binaries.ts';
import { serverUser } from '../../src/db/embedded-user.ts';
import { describeOlder, olderBinaries } from '../support/older-server.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const isRoot = process.getuid?.() === 0;

/** The tests' own place for temporary folders, so that what is left behind can be seen. */
let place: string;
beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), 'foreshadow-embedded-test-'));
  await chmod(place, 0o777);
  vi.stubEnv('TMPDIR', place);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(place, { recursive: true });
});

describe('a server in this process', () => {
  test('answers, logs as jsonlog, and leaves neither process nor folder', async () => {
    const lines: string[] = [];
    const server = await startEmbedded({
      settings: { log_statement: 'all', max_prepared_transactions: '20' },
      log: (line) => lines.push(line),
    });
    onTestFinished(() => server.stop());
    expect(lines).toEqual([
      expect.stringMatching(/^embedded PostgreSQL 18\.\d+ is ready on port \d+ after \d+ ms$/),
    ]);
    expect(server.version).toMatch(/^18\./);

    const settings = await one(
      server.url,
      `select current_setting('max_connections') as connections, current_setting('fsync') as fsync,
              current_setting('synchronous_commit') as commit, current_setting('full_page_writes') as pages,
              current_setting('listen_addresses') as listen, current_setting('unix_socket_directories') as sockets,
              current_setting('max_prepared_transactions') as prepared, current_setting('password_encryption') as auth`,
    );
    expect(settings).toEqual({
      connections: '100',
      fsync: 'off',
      commit: 'on',
      pages: 'off',
      listen: '127.0.0.1',
      sockets: '',
      prepared: '20',
      auth: 'scram-sha-256',
    });

    await one(server.url, "select 'a statement for the log'");
    await expect
      .poll(() => logged(server.logGlob as string), { timeout: 10_000 })
      .toContainEqual(expect.objectContaining({ message: "statement: select 'a statement for the log'" }));

    const folder = dirname(server.dataDirectory);
    expect(await processesOf(folder)).not.toEqual([]);
    await server.stop();
    await server.stop();
    expect(existsSync(folder)).toBe(false);
    expect(await processesOf(folder)).toEqual([]);
  });

  test('lets nobody in without the password', async () => {
    await using server = await startEmbedded();
    const url = new URL(server.url);
    url.password = 'guess';
    await expect(one(url.href, 'select 1')).rejects.toMatchObject({ code: '28P01' });
  });

  test('ends sessions that are busy when it stops', async () => {
    const server = await startEmbedded();
    const busy = expect(one(server.url, 'select pg_sleep(60)')).rejects.toThrow();
    await sleep(300);
    await server.stop();
    await busy;
  });

  test('says what the server said when it cannot start, and cleans up', async () => {
    await expect(startEmbedded({ settings: { shared_buffers: 'plenty' } })).rejects.toMatchObject({
      code: 'EMBEDDED_FAILED',
      message: expect.stringMatching(/invalid value for parameter "shared_buffers": "plenty"/),
    });
    expect(await folders()).toEqual([]);
  });

  test('a port that is taken is an error when it was asked for', async () => {
    const mute = new Set<Socket>();
    const listener = createServer((socket) => void mute.add(socket)).listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address() as { port: number };
    try {
      await expect(startEmbedded({ port })).rejects.toMatchObject({
        code: 'EMBEDDED_FAILED',
        message: expect.stringContaining('Address already in use'),
      });
    } finally {
      for (const socket of mute) socket.destroy();
      listener.close();
    }
  });

  test('a folder without PostgreSQL is an error', async () => {
    await expect(startEmbedded({ binaries: place })).rejects.toMatchObject({
      code: 'EMBEDDED_FAILED',
      message: expect.stringContaining(`cannot run PostgreSQL from ${place}`),
    });
  });
});

describe('the npm package', () => {
  test('is used in place, with links made that its install script did not make', async () => {
    const native = join(place, 'native');
    await cp(embeddedPackage(), native, { recursive: true, verbatimSymlinks: true });
    const links = await removeLinks(native);
    expect(links.length).toBeGreaterThan(0);
    const binaries = await preparePackage(native, await serverUser(), join(place, 'copy'));
    expect(binaries).toMatchObject({ directory: join(native, 'bin'), major: 18 });
    expect(existsSync(join(native, links[0] as string))).toBe(true);
  });

  test.skipIf(!isRoot)('is copied when the server user cannot reach it (needs root)', async () => {
    const closed = join(place, 'closed');
    await cp(embeddedPackage(), join(closed, 'native'), { recursive: true, verbatimSymlinks: true });
    await chmod(closed, 0o700);
    const binaries = await preparePackage(join(closed, 'native'), await serverUser(), join(place, 'copy'));
    expect(binaries).toMatchObject({ directory: join(place, 'copy', 'bin'), major: 18 });
  });

  test.skipIf(isRoot)(
    'is copied when links are missing and it cannot be written (needs not to be root)',
    async () => {
      const native = join(place, 'native');
      await cp(embeddedPackage(), native, { recursive: true, verbatimSymlinks: true });
      await removeLinks(native);
      await chmod(join(native, 'lib'), 0o555);
      try {
        const binaries = await preparePackage(native, {}, join(place, 'copy'));
        expect(binaries).toMatchObject({ directory: join(place, 'copy', 'bin'), major: 18 });
      } finally {
        await chmod(join(native, 'lib'), 0o755);
      }
    },
  );
});

describe('whatever becomes of the process that started it', () => {
  test.each(['stop', 'forget'] as const)('nothing is left when it ends by itself (%s)', async (how) => {
    const { child, told } = startChild(how);
    const { dataDirectory } = await told;
    if (child.exitCode === null) await once(child, 'exit');
    expect(child.exitCode).toBe(0);
    await expectNothingLeft(dirname(dataDirectory));
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)('nothing is left after %s', async (signal) => {
    const { child, told } = startChild('wait');
    const { url, dataDirectory } = await told;
    await one(url, 'select 1');
    child.kill(signal);
    await expectNothingLeft(dirname(dataDirectory));
  });

  test('nothing is left when it is killed while the data directory is being made', async () => {
    const { child, told } = startChild('wait');
    told.catch(() => {});
    await expect
      .poll(async () => (await readdir(place, { recursive: true })).join(), { interval: 5, timeout: 20_000 })
      .toContain('/data');
    child.kill('SIGKILL');
    await expectNothingLeft(place);
  });

  test.skipIf(!isRoot)('runs for a user who is not root (needs root to become one)', async (context) => {
    const as = await serverUser();
    const { child, told } = startChild('stop', as);
    let error = '';
    child.stderr?.on('data', (part) => (error += part));
    const answer = await told.catch(() => null);
    if (answer === null && /EACCES|permission denied/i.test(error))
      context.skip(`${as.uid} cannot read the repository`);
    expect(answer, error).not.toBeNull();
    await expectNothingLeft(place);
  });
});

describeOlder('an installed PostgreSQL', () => {
  test('starts in the same way', async () => {
    await using server = await startEmbedded({ binaries: olderBinaries as string });
    expect(await one(server.url, "select split_part(version(), ' ', 2) as version")).toEqual({
      version: server.version,
    });
    expect(server.logGlob === null).toBe(Number.parseInt(server.version, 10) < 15);
  });
});

function startChild(how: 'stop' | 'wait' | 'forget', as: { uid?: number; gid?: number } = {}) {
  const script = join(repository, 'test/support/embedded-child.ts');
  const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', script, how], {
    ...as,
    cwd: repository,
    env: { PATH: process.env.PATH, TMPDIR: place, TSX_DISABLE_CACHE: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const told = new Promise<{ url: string; dataDirectory: string }>((resolve, reject) => {
    child.stdout?.once('data', (line: Buffer) => resolve(JSON.parse(line.toString())));
    child.once('exit', (code) => reject(new Error(`ended with ${code} before it told anything`)));
  });
  return { child, told };
}

async function expectNothingLeft(folder: string): Promise<void> {
  await expect.poll(() => processesOf(folder), { timeout: 20_000 }).toEqual([]);
  await expect.poll(folders, { timeout: 20_000 }).toEqual([]);
}

/** Processes, and that includes watchdogs, whose command line names the folder. */
async function processesOf(folder: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)('ps', ['-eo', 'args']);
  return stdout.split('\n').filter((line) => line.includes(`${folder}/`) || line.endsWith(folder));
}

async function folders(): Promise<string[]> {
  return (await readdir(place)).filter((name) => name.startsWith('foreshadow-pg-'));
}

async function removeLinks(native: string): Promise<string[]> {
  const names = (await readdir(native, { recursive: true, withFileTypes: true })).filter((entry) =>
    entry.isSymbolicLink(),
  );
  const paths = names.map((entry) => join(entry.parentPath, entry.name));
  for (const path of paths) await rm(path);
  return paths.map((path) => path.slice(native.length + 1));
}

async function logged(pattern: string): Promise<unknown[]> {
  const texts: string[] = [];
  for (const name of await readdir(dirname(pattern))) {
    if (name.endsWith('.json')) texts.push(await readFile(join(dirname(pattern), name), 'utf8'));
  }
  return texts
    .join('')
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

async function one(url: string, sql: string): Promise<Record<string, unknown> | undefined> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.query(sql)).rows[0];
  } finally {
    await client.end();
  }
}
