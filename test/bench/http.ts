import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import autocannon from 'autocannon';
import pg from 'pg';
import { appendAccesses } from '../../src/access/store.queries.ts';
import { parseMigrationFile } from '../../src/config/migration-file.ts';
import type { Context } from '../../src/context.ts';
import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';
import { updateStatus } from '../../src/migration/status.store.ts';
import { learn } from '../../src/pipeline/learning.ts';
import { startMigration } from '../../src/pipeline.ts';
import { type BenchReport, type BenchServer, benchFile, createTables, median, round } from './server.ts';

const connections = 10;
const seconds = 8;
const rounds = 3;
const accesses = 400_000;
const probes = 31;

/**
 * Scores over HTTP against a bare Fastify route that returns the same bytes, each server a process of its own, taking
 * turns; then large requests, and memory under steady load.
 * @param options.seconds how long memory is watched
 */
export async function http(
  { ctx, pool, logGlob }: BenchServer,
  rows: number,
  options: { readonly seconds: number },
): Promise<BenchReport> {
  await createTables(pool, rows);
  const file = parseMigrationFile({
    ...benchFile(),
    predict: { horizon: '2m' },
    queryLog: { path: logGlob },
  });
  const migration = await startMigration(ctx, file);
  const log = await history(rows, ctx.clock.now());
  for (let i = 0; i < log.length; i += 20_000)
    await appendAccesses(pool, migration.id, 'reported', log.slice(i, i + 20_000));
  const learnt = await learn(ctx, migration);
  learnt?.predictor.dispose();
  // served as it is: no job is to compete for the two cores
  await updateStatus(pool, migration.id, { managed: false });

  const folder = ctx.config.modelsDir;
  const serve = await server(['src/cli/main.ts', 'serve', '--port', '0', '--json'], {
    DATABASE_URL: ctx.config.databaseUrl as string,
    FORESHADOW_MODELS: folder,
    FORESHADOW_LOG_LEVEL: 'error',
    FORESHADOW_RATE_LIMIT: '0',
  });
  const report: Record<string, unknown> = {
    rows,
    accesses,
    predictor: learnt?.predictor.manifest.predictor ?? 'recent use',
    connections,
    seconds_each: seconds,
    rounds,
  };
  try {
    for (const keys of [100, 10_000]) {
      const bodies = requests(keys, rows);
      const path = join(folder, `answer-${keys}.json`);
      const answer = await fetch(`${serve.url}/api/v1/scores`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: bodies[0] as string,
      });
      if (!answer.ok) throw new Error(`scores: ${answer.status} ${await answer.text()}`);
      await writeFile(path, Buffer.from(await answer.arrayBuffer()));
      const bare = await server(['test/bench/bare.ts', path], {});
      try {
        Object.assign(report, await compare(keys, serve.url, bare.url, bodies));
      } finally {
        await end(bare.child);
      }
    }
    Object.assign(report, await freshness(ctx, migration.id, serve.url, rows));
    Object.assign(report, await memory(serve, requests(100, rows), options.seconds));
  } finally {
    await end(serve.child);
  }
  return report;
}

/** Zipf-like use of a third of the rows, over 40 minutes. */
async function history(rows: number, now: number): Promise<Access[]> {
  const rng = seededRng(1);
  return Array.from({ length: accesses }, (_, i) => ({
    key: String(1 + someRow(rows, rng())),
    op: i % 8 === 0 ? ('W' as const) : ('R' as const),
    at: now - 2400 + (2400 * i) / accesses,
  }));
}
const someRow = (rows: number, u: number) => Math.floor((rows / 3) * u ** 3);

/** Bodies to take turns with: skewed as the history is, some keys never seen. */
function requests(keys: number, rows: number): string[] {
  const rng = seededRng(keys);
  return Array.from({ length: 50 }, () =>
    JSON.stringify({
      migration: 'bench',
      keys: Array.from({ length: keys }, () => [String(1 + someRow(rows * 1.5, rng()))]),
    }),
  );
}

async function compare(
  keys: number,
  ours: string,
  bare: string,
  bodies: readonly string[],
): Promise<Record<string, unknown>> {
  const mine: autocannon.Result[] = [];
  const theirs: autocannon.Result[] = [];
  await load(ours, bodies, 2);
  await load(bare, bodies, 2);
  for (let i = 0; i < rounds; i++) {
    theirs.push(await load(bare, bodies, seconds));
    mine.push(await load(ours, bodies, seconds));
  }
  const rate = (results: autocannon.Result[]) => median(results.map((result) => result.requests.average));
  const p99 = (results: autocannon.Result[]) => median(results.map((result) => result.latency.p99));
  return {
    [`keys_${keys}_requests_per_s`]: round(rate(mine), 1),
    [`keys_${keys}_bare_requests_per_s`]: round(rate(theirs), 1),
    [`keys_${keys}_ratio`]: round(rate(mine) / rate(theirs), 2),
    [`keys_${keys}_p99_ms`]: p99(mine),
    [`keys_${keys}_bare_p99_ms`]: p99(theirs),
    [`keys_${keys}_rows_per_s`]: Math.round(rate(mine) * keys),
  };
}

async function load(url: string, bodies: readonly string[], duration: number): Promise<autocannon.Result> {
  const result = await autocannon({
    url: `${url}/api/v1/scores`,
    connections,
    duration,
    requests: bodies.map((body) => ({
      method: 'POST' as const,
      headers: { 'content-type': 'application/json' },
      body,
    })),
  });
  if (result.non2xx + result.errors > 0)
    throw new Error(`${result.non2xx} refused, ${result.errors} errors of ${result.requests.total}`);
  return result;
}

/**
 * From a statement's answer to the first score that knows of it, in ms. The session says nothing more afterwards, which is
 * the slowest case: a statement counts as executed when the next one of its session comes, or after half a second.
 */
async function freshness(
  ctx: Context,
  migrationId: number,
  url: string,
  rows: number,
): Promise<Record<string, unknown>> {
  // mining goes on for a migration that is paused, and nothing else does
  await updateStatus(ctx.pool, migrationId, { managed: true, status: 'PAUSED' });
  const client = new pg.Client({
    connectionString: ctx.config.databaseUrl as string,
    application_name: 'bench',
  });
  await client.connect();
  await client.query("set log_statement = 'all'");
  const took: number[] = [];
  for (let i = 0; i < probes; i++) {
    const key = String(rows - i); // nobody else uses the last rows
    await client.query(`select * from public.bench where id = ${key}`);
    const began = performance.now();
    for (;;) {
      const answer = await fetch(`${url}/api/v1/scores`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ migration: 'bench', keys: [[key]] }),
      });
      const { scores } = (await answer.json()) as { scores: { known: boolean }[] };
      if (scores[0]?.known) break;
      if (performance.now() - began > 20_000) throw new Error('a statement was never seen');
      await ctx.clock.sleep(10);
    }
    took.push(performance.now() - began);
  }
  await client.end();
  await updateStatus(ctx.pool, migrationId, { managed: false });
  return {
    fresh_after_ms_median: Math.round(median(took.slice(1))),
    fresh_after_ms_most: Math.round(Math.max(...took.slice(1))),
  };
}

/** Resident memory of the server at the beginning and the end of a steady load. */
async function memory(
  serve: Server,
  bodies: readonly string[],
  duration: number,
): Promise<Record<string, unknown>> {
  const samples: number[] = [];
  const watch = setInterval(async () => samples.push(await resident(serve.child)), 1000);
  const result = await load(serve.url, bodies, duration);
  clearInterval(watch);
  const tenth = Math.max(1, Math.floor(samples.length / 10));
  return {
    memory_seconds: duration,
    memory_requests: result.requests.total,
    memory_first_mb: Math.round(median(samples.slice(tenth, 2 * tenth))),
    memory_last_mb: Math.round(median(samples.slice(-tenth))),
    memory_most_mb: Math.round(Math.max(...samples)),
  };
}

async function resident({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}

interface Server {
  readonly child: ChildProcess;
  readonly url: string;
}

async function server(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Server> {
  const child = spawn(process.execPath, ['--import', 'tsx', ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, url: JSON.parse(line.toString()).url };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}
