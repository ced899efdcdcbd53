import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'pg';
import { failpoints } from '../../../src/core/failpoint.ts';
import { initSchema } from '../../../src/db/migrate.ts';
import { onlyAfterwards, type Scenario, scenarioOf } from './scenario.ts';
import { failed, onServer, Seed, type SeedResult } from './seed.ts';
import { type HostileServer, startServer } from './server.ts';
import type { Workers } from './workers.ts';

/** What `npm run chaos -- --json` prints. */
export interface Report {
  readonly schema: 1;
  readonly seeds: number;
  /** worker processes */
  readonly runs: number;
  readonly kills: number;
  readonly restarts: number;
  readonly writer_ops: number;
  readonly snapshots: number;
  readonly lost: number;
  readonly extra: number;
  readonly different: number;
  /** seeds in which something else was wrong: stuck, a writer held, an overlay that lied, a zombie that went on */
  readonly faulty: number;
  readonly failed_seeds: readonly number[];
  /** seeds that ended with a rollback */
  readonly rolled_back: number;
  readonly failpoints_hit: number;
  readonly failpoints_total: number;
  readonly failpoints_missed: readonly string[];
  readonly seconds: number;
  readonly seconds_per_seed: number;
}

/** A server with a template database that has our schema in it. */
export async function hostileServer(): Promise<HostileServer> {
  const server = await startServer();
  await onServer(server, (client) => client.query('create database foreshadow_template'));
  const pool = new Pool({ connectionString: server.url('foreshadow_template') });
  await initSchema(pool);
  await pool.end();
  return server;
}

/** One seed after the other, each result as it comes. */
export async function* runSeeds(
  scenarios: Iterable<Scenario>,
  server: HostileServer,
  workers: Workers,
): AsyncGenerator<SeedResult> {
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-chaos-run-'));
  try {
    for (const scenario of scenarios) yield await new Seed(scenario, server, workers, folder).run();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export function* scenarios(from: number, seeds: number, goesOn = false): Generator<Scenario> {
  for (let seed = from; seed < from + seeds; seed++) yield scenarioOf(seed, {}, goesOn);
}

export function summarise(
  results: readonly SeedResult[],
  runs: number,
  seconds: number,
  goesOn = false,
): Report {
  // neither mode can reach what only the other one does
  const reachable = failpoints.filter((name) =>
    goesOn ? !name.startsWith('abort.') : !onlyAfterwards.includes(name),
  );
  const sum = (of: (result: SeedResult) => number) =>
    results.reduce((total, result) => total + of(result), 0);
  const hit = new Set(results.flatMap((result) => [...result.failpoints]));
  return {
    schema: 1,
    seeds: results.length,
    runs,
    kills: sum((result) => result.kills),
    restarts: sum((result) => result.restarts),
    writer_ops: sum((result) => result.writerOps),
    snapshots: sum((result) => result.snapshots),
    lost: sum((result) => result.differences.lost.length),
    extra: sum((result) => result.differences.extra.length),
    different: sum((result) => result.differences.different.length),
    faulty: results.filter((result) => result.faults.length).length,
    failed_seeds: results.filter(failed).map((result) => result.seed),
    rolled_back: results.filter((result) => result.end === 'back').length,
    failpoints_hit: hit.size,
    failpoints_total: reachable.length,
    failpoints_missed: reachable.filter((name) => !hit.has(name)),
    seconds: Math.round(seconds),
    seconds_per_seed: Math.round((10 * seconds) / Math.max(1, results.length)) / 10,
  };
}

/** Enough to see what happened, and the command that does it again. */
export function describeFailure(result: SeedResult, goesOn = false): string {
  return [
    `seed ${result.seed} FAILED (${result.shape})`,
    ...(['lost', 'extra', 'different'] as const).map(
      (kind) => `  ${kind}: ${result.differences[kind].join(', ')}`,
    ),
    ...result.faults.map((what) => `  fault: ${what}`),
    ...result.timeline.map((line) => `    ${line}`),
    `  again: npm run chaos -- --from ${result.seed} --seeds 1${goesOn ? ' --rollback' : ''}`,
  ].join('\n');
}
