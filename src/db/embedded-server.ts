import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, chown, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { ForeshadowError } from '../core/errors.ts';
import type { Binaries } from './embedded-binaries.ts';
import { type RunAs, run, serverEnvironment } from './embedded-user.ts';

/** Longer than a cold disk needs, shorter than anybody waits. */
const READY_TIMEOUT_MS = 30_000;
/** Between looking for a free port and using it, another process may take it. */
const PORT_ATTEMPTS = 5;

/** What is to run, and where: data in `folder`/data, output from before the log collector in `folder`/startup.log. */
export interface Cluster {
  readonly folder: string;
  readonly binaries: Binaries;
  readonly as: RunAs;
  readonly password: string;
  readonly durable: boolean;
  readonly port: number | undefined;
  readonly settings: Readonly<Record<string, string>>;
}

export interface RunningServer {
  readonly process: ChildProcess;
  readonly port: number;
  readonly url: string;
}

/**
 * Makes the data directory.
 * @param onPid told the process group of initdb
 * @throws ForeshadowError EMBEDDED_FAILED with what initdb said
 */
export async function initialise(cluster: Cluster, onPid: (pid: number) => void): Promise<void> {
  const { folder, binaries, as } = cluster;
  const passwordFile = join(folder, 'password');
  await writeFile(passwordFile, cluster.password, { mode: 0o600 });
  if (as.uid !== undefined && as.gid !== undefined) await chown(passwordFile, as.uid, as.gid);
  const args = [
    `--pgdata=${join(folder, 'data')}`,
    '--username=postgres',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256', // other users of this machine can reach the loopback address too
    '--encoding=UTF8',
    // the same order of texts on every machine, whatever locales it has
    ...(binaries.major >= 17 ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'] : []),
    '--locale=C',
    '--no-instructions',
    ...(cluster.durable ? [] : ['--no-sync']),
  ];
  const { code, output } = await run(join(binaries.directory, 'initdb'), args, as, { onPid });
  await rm(passwordFile);
  if (code !== 0) {
    throw new ForeshadowError('EMBEDDED_FAILED', `initdb ended with exit code ${code}:\n${tail(output)}`);
  }
}

/**
 * Starts the server and waits until it answers.
 * @throws ForeshadowError EMBEDDED_FAILED with the end of the server's log
 */
export async function launch(cluster: Cluster): Promise<RunningServer> {
  const data = join(cluster.folder, 'data');
  for (let attempt = 1; ; attempt++) {
    const port = cluster.port ?? (await freePort());
    // in the file, not on the command line, where ALTER SYSTEM could not change it
    await appendFile(join(data, 'postgresql.conf'), `\n${configuration(cluster, port)}`);
    const child = await spawnServer(cluster, data);
    const exited = once(child, 'exit').then(
      () => 'it ended at once',
      (error: Error) => error.message,
    );
    const url = `postgres://postgres:${cluster.password}@127.0.0.1:${port}/postgres`;
    const problem = await becomesReady(url, data, exited);
    if (problem === null) return { process: child, port, url };
    child.kill('SIGQUIT'); // no matter if it has ended
    await exited;
    const log = await lastWords(cluster.folder);
    if (cluster.port === undefined && attempt < PORT_ATTEMPTS && log.includes('could not bind')) continue;
    throw new ForeshadowError('EMBEDDED_FAILED', `PostgreSQL did not start: ${problem}\n${tail(log)}`, {
      port,
    });
  }
}

async function spawnServer({ folder, binaries, as }: Cluster, data: string): Promise<ChildProcess> {
  const early = await open(join(folder, 'startup.log'), 'w');
  try {
    const child = spawn(join(binaries.directory, 'postgres'), ['-D', data], {
      ...as,
      cwd: '/',
      env: serverEnvironment,
      detached: true, // Ctrl-C on a terminal is for us; the server goes when we go
      stdio: ['ignore', early.fd, early.fd],
    });
    child.unref();
    return child;
  } finally {
    await early.close();
  }
}

function configuration({ binaries, durable, settings }: Cluster, port: number): string {
  const all: Record<string, string> = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '100',
    timezone: 'UTC',
    log_timezone: 'UTC',
    logging_collector: 'on',
    log_directory: 'log',
    ...(binaries.major >= 15 ? { log_destination: 'jsonlog' } : {}),
    ...(durable ? {} : { fsync: 'off', full_page_writes: 'off' }),
    ...settings,
  };
  return Object.entries(all)
    .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
    .join('');
}

/** Asks by connecting: the line on stderr that says so is lost to the log collector. @returns null, or what is wrong */
async function becomesReady(url: string, data: string, exited: Promise<string>): Promise<string | null> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let last = 'no answer';
  let ended = false;
  const failed = exited.then((how) => {
    ended = true;
    throw new Error(how);
  });
  failed.catch(() => {});
  while (!ended && performance.now() < deadline) {
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
    client.on('error', () => {});
    try {
      // raced: whoever has our port may accept the connection and say nothing
      await Promise.race([client.connect(), failed]);
      const { rows } = await client.query<{ data: string }>(
        "select current_setting('data_directory') as data",
      );
      await client.end();
      if (rows[0]?.data === data) return null;
      last = 'another server answers on its port';
    } catch (error) {
      last = (error as Error).message;
      client.end().catch(() => {}); // not awaited, for the same reason
    }
    if (!ended) await sleep(20);
  }
  return ended ? last : `not ready after ${READY_TIMEOUT_MS / 1000} s (${last})`;
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as { port: number };
  listener.close();
  await once(listener, 'close');
  return port;
}

/** The log collector goes on writing for a moment after the server has ended. */
async function lastWords(folder: string): Promise<string> {
  for (let attempt = 0; ; attempt++) {
    const log = await serverLog(folder);
    if (/FATAL|PANIC/.test(log) || attempt === 20) return log;
    await sleep(50);
  }
}

/** What the server said before and after its log collector took over, one message a line. */
async function serverLog(folder: string): Promise<string> {
  const log = join(folder, 'data', 'log');
  const names = (await readdir(log).catch(() => [])).sort().map((name) => join(log, name));
  const texts = [join(folder, 'startup.log'), ...names].map((path) => readFile(path, 'utf8').catch(() => ''));
  return (await Promise.all(texts)).join('').split('\n').map(plain).join('\n');
}

/** `{"error_severity":"LOG","message":"…"}` → `LOG: …`; any other line stays. */
function plain(line: string): string {
  if (!line.startsWith('{')) return line;
  try {
    const entry = JSON.parse(line) as { error_severity?: string; message?: string; hint?: string };
    return [`${entry.error_severity}: ${entry.message}`, ...(entry.hint ? [`HINT: ${entry.hint}`] : [])].join(
      ' ',
    );
  } catch {
    return line;
  }
}

function tail(text: string): string {
  return text.trim().split('\n').slice(-15).join('\n');
}
