import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ForeshadowError } from '../core/errors.ts';
import { prepareBinaries } from './embedded-binaries.ts';
import { initialise, launch, type RunningServer } from './embedded-server.ts';
import { type RunAs, run, serverUser } from './embedded-user.ts';
import { startWatchdog, type Watchdog } from './embedded-watchdog.ts';

export interface EmbeddedOptions {
  /** a free one when absent */
  readonly port?: number;
  /** PostgreSQL settings; they win over ours. `{ log_statement: 'all' }` makes it write the query log */
  readonly settings?: Readonly<Record<string, string>>;
  /** the npm package ('embedded', the default), or a folder with initdb and postgres */
  readonly binaries?: 'embedded' | (string & {});
  /** false (default): a crash of the machine may lose the data, which are temporary anyway */
  readonly durable?: boolean;
  /** receives one line when the server is ready */
  readonly log?: (line: string) => void;
}

/** A PostgreSQL server of our own, with its data in a temporary folder. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** superuser, with password, on 127.0.0.1 */
  readonly url: string;
  readonly port: number;
  /** '18.4' */
  readonly version: string;
  /** the server's log files in jsonlog form; null before PostgreSQL 15, which cannot write it */
  readonly logGlob: string | null;
  readonly dataDirectory: string;
  /** ends the server and removes its folder; can be called again */
  stop(): Promise<void>;
}

/**
 * Starts a PostgreSQL server which ends, and takes its folder along, when it is stopped or when this process ends
 * in whatever way. It does not keep this process alive.
 * @throws ForeshadowError EMBEDDED_FAILED, with the end of the server's log
 */
export async function startEmbedded(options: EmbeddedOptions = {}): Promise<EmbeddedPostgres> {
  if (process.platform === 'win32') {
    throw new ForeshadowError('EMBEDDED_FAILED', 'the embedded PostgreSQL is not supported on Windows');
  }
  const began = performance.now();
  const as = await serverUser();
  const folder = await makeFolder(as);
  const watchdog = startWatchdog(folder);
  try {
    const binaries = await prepareBinaries(options.binaries ?? 'embedded', as, join(folder, 'native'));
    const cluster = {
      folder,
      binaries,
      as,
      password: randomBytes(18).toString('base64url'),
      durable: options.durable ?? false,
      port: options.port,
      settings: options.settings ?? {},
    };
    await initialise(cluster, watchdog.group);
    const server = await launch(cluster);
    const ms = Math.round(performance.now() - began);
    options.log?.(`embedded PostgreSQL ${binaries.version} is ready on port ${server.port} after ${ms} ms`);
    let stopped: Promise<void> | undefined;
    const stop = () => (stopped ??= shutDown(server, folder, watchdog));
    return {
      url: server.url,
      port: server.port,
      version: binaries.version,
      logGlob: binaries.major >= 15 ? join(folder, 'data', 'log', '*.json') : null,
      dataDirectory: join(folder, 'data'),
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await cleanUp(folder, watchdog);
    if (error instanceof ForeshadowError) throw error;
    const why = `the embedded PostgreSQL did not start: ${(error as Error).message}`;
    throw new ForeshadowError('EMBEDDED_FAILED', why, {}, { cause: error });
  }
}

/** A private folder of the server's user. Root can read it anyway, so the log files are open to the caller. */
async function makeFolder({ uid, gid }: RunAs): Promise<string> {
  const bases = uid === undefined ? [tmpdir()] : [...new Set([tmpdir(), '/tmp', '/var/tmp'])];
  for (const base of bases) {
    const folder = await mkdtemp(join(base, 'foreshadow-pg-')).catch(() => null);
    if (folder === null) continue;
    if (uid === undefined || gid === undefined) return folder;
    await chown(folder, uid, gid);
    // root's TMPDIR may lie in a place where the server's user cannot go
    if ((await run('/bin/sh', ['-c', 'cd "$0"', folder], { uid, gid })).code === 0) return folder;
    await rm(folder, { recursive: true });
  }
  throw new ForeshadowError('EMBEDDED_FAILED', `cannot make a temporary folder in ${bases.join(', ')}`);
}

async function shutDown(server: RunningServer, folder: string, watchdog: Watchdog): Promise<void> {
  const child = server.process;
  if (child.exitCode === null && child.signalCode === null) {
    child.ref();
    const exited = once(child, 'exit');
    child.kill('SIGINT'); // "fast": sessions are told, and nobody is waited for
    // a session that does not listen is ended by the watchdog
    await Promise.race([exited, sleep(5_000, undefined, { ref: false })]);
  } else {
    // it was killed and could not remove its lock; the pid in there may be somebody else's by now
    await rm(join(folder, 'data', 'postmaster.pid'), { force: true });
  }
  await cleanUp(folder, watchdog);
}

async function cleanUp(folder: string, watchdog: Watchdog): Promise<void> {
  await watchdog.release();
  await rm(folder, { recursive: true, force: true }); // a no-op, unless somebody has killed the watchdog
}
