import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { Pool } from 'pg';
import { loadConfig } from '../../src/config/config.ts';
import { systemClock } from '../../src/core/clock.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import { initSchema } from '../../src/db/migrate.ts';
import { findMigration, type Migration } from '../../src/migration/status.store.ts';
import type { ThrottleState } from '../../src/migration/throttle/throttle.ts';
import {
  accountsFile,
  balance,
  createAccounts,
  Load,
  type LoadWindow,
  openGate,
  phaseOf,
  together,
} from './application.ts';
import { type BenchReport, round, unthrottled } from './server.ts';
import { foreshadow } from './worker.ts';

const execute = promisify(execFile);
const { sleep } = systemClock;

/** Seconds of the load alone, before each migration: what it is compared with. */
const aloneSeconds = 15;
/** Debian's; the peers' extension and client are packaged for it. */
const debian = '/usr/lib/postgresql/15/bin';

/** A database of its own with the application's table, and the load on it. */
interface Stage {
  readonly url: string;
  readonly pool: Pool;
  readonly rows: number;
  readonly modelsDir: string;
  readonly seconds: number;
  readonly load: Load;
}

/**
 * What an application notices of a migration beside it: eight sessions of short transactions on the same cores, as many as
 * there is room for, or `rate` a second. Each way of migrating gets a table of its own and is compared with the
 * same load alone, just before: Foreshadow without its throttle and with it, and what pg_repack and pgcopydb do to the
 * same load. pg_repack rewrites the table in place, in the same format; pgcopydb copies the database once and does not
 * follow changes (`--follow` left out): both have less to do.
 */
export async function throttle(
  rows: number,
  options: { readonly seconds: number; readonly sessions: number; readonly rate: number | null },
): Promise<BenchReport> {
  const binaries = existsSync(`${debian}/postgres`) ? debian : 'embedded';
  await using postgres = await startEmbedded({
    durable: true,
    binaries,
    settings: { shared_buffers: '512MB' },
  });
  const stage = async (
    name: string,
    work: (stage: Stage, alone: LoadWindow) => Promise<BenchReport>,
  ): Promise<BenchReport> => {
    const url = await database(postgres.url, name);
    const pool = new Pool({ connectionString: url, max: 3 });
    try {
      await createAccounts(pool, rows);
      const { sessions, seconds, rate } = options;
      const load = new Load({ url, table: 'public.accounts', rows, sessions, rate });
      await sleep(3000); // connections, caches
      await load.cut();
      await sleep(aloneSeconds * 1000);
      const alone = await load.cut();
      const modelsDir = `${postgres.dataDirectory}-models-${name}`;
      const report = await work({ url, pool, rows, modelsDir, seconds, load }, alone);
      const { totals } = await load.stop();
      const books = await balance(pool, rows, totals);
      return { ...report, errors: totals.errors, rows_lost: -books.rows, updates_lost: -books.amount };
    } catch (error) {
      return { failed: (error as Error).message };
    } finally {
      await pool.end();
    }
  };
  return {
    server: postgres.version,
    rows,
    sessions: options.sessions,
    rate: options.rate ?? 'as many as there is room for',
    unthrottled: await stage('unthrottled', (s, alone) => migrated(s, alone, { throttle: unthrottled })),
    throttled: await stage('throttled', (s, alone) => migrated(s, alone, {})),
    pg_repack: peer('pg_repack', binaries) ?? (await stage('repacked', (s, alone) => repacked(s, alone))),
    pgcopydb:
      peer('pgcopydb', binaries) ??
      (await stage('cloned', async (s, alone) => cloned(s, alone, await database(postgres.url, 'clone')))),
  };
}

async function database(serverUrl: string, name: string): Promise<string> {
  const pool = new Pool({ connectionString: serverUrl, max: 1 });
  await pool.query(`create database ${name}`);
  await pool.end();
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

/** Why a peer cannot be measured here; null when it can. */
function peer(program: string, binaries: string): BenchReport | null {
  if (binaries !== debian) return { missing: "needs Debian's PostgreSQL 15" };
  const found = existsSync(`/usr/bin/${program}`) || existsSync(`${debian}/${program}`);
  const name = program === 'pg_repack' ? 'postgresql-15-repack' : program;
  return found ? null : { missing: `apt-get install ${name}` };
}

function compared(alone: LoadWindow, during: readonly LoadWindow[]): BenchReport {
  const [before, then] = [together([alone]), together(during)];
  return {
    alone_p99_ms: before.p99_ms,
    alone_longest_ms: before.longest_ms,
    p99_ms: then.p99_ms,
    longest_ms: then.longest_ms,
    p99_ratio: round(then.p99_ms / before.p99_ms, 2),
    throughput_ratio: round(then.transactions_per_s / before.transactions_per_s, 2),
    seconds: then.seconds,
  };
}

/** A whole migration by `foreshadow run`; the figures are of the copy, the other phases beside it. */
async function migrated(stage: Stage, alone: LoadWindow, given: object): Promise<BenchReport> {
  const { url, pool, modelsDir, load } = stage;
  await initSchema(pool);
  const file = accountsFile({ ...openGate, ...given });
  const worker = await foreshadow(loadConfig({}, { databaseUrl: url, modelsDir, logLevel: 'error' }), file);
  const phases = new Map<string, LoadWindow[]>();
  const held = new Map<string, number>();
  const began = performance.now();
  const end = worker.ended.then(() => true);
  let last: Migration | null = null;
  for (let over = false; !over; ) {
    last = await findMigration(pool, file.name);
    const phase = phaseOf(last);
    over = await Promise.race([end, sleep(250).then(() => false)]);
    phases.set(phase, [...(phases.get(phase) ?? []), await load.cut()]);
    if (phase === 'copy') {
      const { source, share = 1 } = (last?.throttle_state ?? {}) as Partial<ThrottleState>;
      const by = source ?? (share < 1 ? 'its beginning' : 'nothing');
      held.set(by, (held.get(by) ?? 0) + 1);
    }
    if (!last?.copied_at && performance.now() - began > stage.seconds * 1000) {
      await worker.kill();
      over = true;
    }
  }
  const windows = phases.get('copy') ?? [];
  const looks = [...held.values()].reduce((a, b) => a + b, 0);
  const whole = [...phases].flatMap(([phase, each]) => (phase === 'starting' ? [] : each));
  const copied = last?.copied_at != null;
  return {
    ...compared(alone, windows),
    ...(copied ? {} : { unfinished: `stopped after ${stage.seconds} s: ${last?.wait_reason}` }),
    rows_per_s: copied ? Math.round(stage.rows / together(windows).seconds) : null,
    held_back_by: Object.fromEntries([...held].map(([source, n]) => [source, round(n / looks, 2)])),
    whole_migration: compared(alone, whole),
    by_phase: Object.fromEntries([...phases].map(([phase, each]) => [phase, together(each)])),
  };
}

async function repacked({ url, pool, load }: Stage, alone: LoadWindow): Promise<BenchReport> {
  await pool.query('create extension pg_repack');
  await load.cut();
  const { hostname, port, username, password, pathname } = new URL(url);
  const args = [
    '-h',
    hostname,
    '-p',
    port,
    '-U',
    username,
    '-d',
    pathname.slice(1),
    '-n',
    '-t',
    'public.accounts',
  ];
  const program = existsSync('/usr/bin/pg_repack') ? 'pg_repack' : `${debian}/pg_repack`;
  await execute(program, args, { env: { ...process.env, PGPASSWORD: decodeURIComponent(password) } });
  return compared(alone, [await load.cut()]);
}

async function cloned(
  { url, load, modelsDir }: Stage,
  alone: LoadWindow,
  target: string,
): Promise<BenchReport> {
  await load.cut();
  const args = [
    'clone',
    '--source',
    url,
    '--target',
    target,
    '--dir',
    join(tmpdir(), `${basename(modelsDir)}-${process.pid}`),
  ];
  await execute('pgcopydb', [...args, '--table-jobs', '2', '--index-jobs', '2'], {
    env: { ...process.env, PATH: `${debian}:${process.env.PATH}` },
  });
  return compared(alone, [await load.cut()]);
}
