import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { Pool } from 'pg';
import { loadConfig } from '../../src/config/config.ts';
import { systemClock } from '../../src/core/clock.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import { initSchema } from '../../src/db/migrate.ts';
import { findMigration, type Migration } from '../../src/migration/status.store.ts';
import type { ThrottleState } from '../../src/migration/throttle/throttle.ts';
import { accountsFile, balance, createAccounts, Load, type LoadWindow, together } from './application.ts';
import { type BenchReport, round, unthrottled } from './server.ts';
import { foreshadow } from './worker.ts';

const execute = promisify(execFile);
const { sleep } = systemClock;

/** Seconds of the load alone, before each migration: what it is compared with. */
const aloneSeconds = 15;
/** Debian's; the peers' extension and client are packaged for it. */
const debian = '/usr/lib/postgresql/15/bin';

const gate = {
  confidence: { threshold: 0, fieldThreshold: 0, consecutive: 1 },
  cutover: { reads: 'when-confident', writes: 'auto' },
} as const;
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
 * What an application that keeps the machine busy notices of a migration beside it: eight sessions of short transactions,
 * as many as there is room for, on the same cores. Each way of migrating gets a table of its own and is compared with the
 * same load alone, just before: Foreshadow without its throttle and with it, and what pg_repack and pgcopydb do to the
 * same load. pg_repack rewrites the table in place, in the same format; pgcopydb copies the database once and does not
 * follow changes (`--follow` left out): both have less to do.
 */
export async function throttle(
  rows: number,
  options: { readonly seconds: number; readonly sessions: number },
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
      const { sessions, seconds } = options;
      const load = new Load({ url, table: 'public.accounts', rows, sessions, rate: null });
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

interface Seen {
  readonly at: number;
  readonly share: number;
  readonly eta: number | null;
  readonly total: number | null;
}

/** A whole migration by `foreshadow run`; the figures are of the copy, the other phases beside it. */
async function migrated(stage: Stage, alone: LoadWindow, given: object): Promise<BenchReport> {
  const { url, pool, modelsDir, load } = stage;
  await initSchema(pool);
  const file = accountsFile({ ...gate, ...given });
  const worker = await foreshadow(loadConfig({}, { databaseUrl: url, modelsDir, logLevel: 'error' }), file);
  const phases = new Map<string, LoadWindow[]>();
  const seen: Seen[] = [];
  const errors: number[] = [];
  const reasons = new Map<string, number>();
  const began = performance.now();
  let copied = 0;
  let ready = 0;
  let last: Migration | null = null;
  const end = worker.ended.then(() => true);
  for (let over = false; !over; ) {
    const migration = await findMigration(pool, file.name);
    last = migration;
    const phase = phaseOf(migration);
    over = await Promise.race([end, sleep(250).then(() => false)]);
    phases.set(phase, [...(phases.get(phase) ?? []), await load.cut()]);
    if (phase === 'copy' && migration) {
      const share = Number(migration.rows_migrated) / Number(migration.rows_total);
      const at = performance.now();
      seen.push({
        at,
        share,
        eta: migration.eta_s as number | null,
        total: migration.eta_total_s as number | null,
      });
      if (share > (errors.length + 1) / 5) errors.push(await progressError(pool, migration));
      const { source, share: driven = 1 } = (migration.throttle_state ?? {}) as Partial<ThrottleState>;
      const held = source ?? (driven < 1 ? 'its beginning' : 'nothing');
      reasons.set(held, (reasons.get(held) ?? 0) + 1);
    } else if (seen.length && !copied) copied = performance.now();
    if ((phase === 'ready' || phase === 'completed') && !ready) ready = performance.now();
    if (!copied && performance.now() - began > stage.seconds * 1000) {
      await worker.kill();
      over = true;
    }
  }
  const windows = phases.get('copy') ?? [];
  const looks = [...reasons.values()].reduce((a, b) => a + b, 0);
  const whole = [...phases].flatMap(([phase, each]) => (phase === 'starting' ? [] : each));
  return {
    ...compared(alone, windows),
    ...(copied ? {} : { unfinished: `stopped after ${stage.seconds} s: ${last?.wait_reason}` }),
    whole_migration: compared(alone, whole),
    rows_per_s: copied ? Math.round(stage.rows / together(windows).seconds) : null,
    held_back_by: Object.fromEntries([...reasons].map(([source, n]) => [source, round(n / looks, 2)])),
    eta: etaError(seen, copied, ({ eta }) => eta),
    eta_of_everything: etaError(seen, ready, ({ total }) => total),
    progress_error: errors.length ? round(Math.max(...errors), 3) : null,
    by_phase: Object.fromEntries([...phases].map(([phase, each]) => [phase, together(each)])),
  };
}

/** The first estimate after a tenth of the copy, held against what came. */
function etaError(seen: readonly Seen[], end: number, of: (seen: Seen) => number | null): BenchReport | null {
  const look = seen.find((each) => each.share >= 0.1 && of(each) !== null);
  if (!look || !end) return null;
  const [said, was] = [of(look) as number, (end - look.at) / 1000];
  return {
    at_share: round(look.share),
    said_s: round(said, 1),
    was_s: round(was, 1),
    error: round(Math.abs(said - was) / was),
  };
}

/** The share that the status tells, against the rows that the copy has passed, counted by their keys in the same snapshot. */
async function progressError(pool: Pool, { id, plan }: Migration): Promise<number> {
  const { rows } = await pool.query<{ error: number }>(
    `select abs((select rows_migrated::float8 / rows_total from foreshadow.migration_status where id = $1)
                - (count(*) filter (where r.done or s.id <= r.cur_k1))::float8 / count(*)) as error
       from ${plan.names.source} s join ${plan.names.range} r
         on (r.lo_k1 is null or s.id > r.lo_k1) and (r.hi_k1 is null or s.id <= r.hi_k1)`,
    [id],
  );
  return rows[0]?.error ?? Number.NaN;
}

const phaseOf = (migration: Migration | null) =>
  migration?.status === 'IN_PROGRESS' ? migration.phase : (migration?.status.toLowerCase() ?? 'starting');

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
    `/tmp/${modelsDir.split('/').at(-1)}-${process.pid}`,
  ];
  await execute('pgcopydb', [...args, '--table-jobs', '2', '--index-jobs', '2'], {
    env: { ...process.env, PATH: `${debian}:${process.env.PATH}` },
  });
  return compared(alone, [await load.cut()]);
}
