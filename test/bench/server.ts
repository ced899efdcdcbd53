import type { Pool } from 'pg';
import { loadConfig } from '../../src/config/config.ts';
import { parseMigrationFile } from '../../src/config/migration-file.ts';
import { type Context, createContext } from '../../src/context.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import { initSchema } from '../../src/db/migrate.ts';
import { beginShadowing } from '../../src/migration/begin.ts';
import type { Migration } from '../../src/migration/status.store.ts';
import { Run } from '../../src/pipeline/run.ts';
import { plan } from '../../src/pipeline.ts';

export type BenchReport = Readonly<Record<string, unknown>>;

export interface BenchServer {
  readonly ctx: Context;
  readonly pool: Pool;
  /** as superuser */
  readonly url: string;
  /** the server's log; statements are in it for a session that says so */
  readonly logGlob: string;
}

/** A server of its own, durable, so that commits cost what they cost. */
export async function withBenchServer(
  body: (server: BenchServer) => Promise<BenchReport>,
): Promise<BenchReport> {
  await using postgres = await startEmbedded({ durable: true, settings: { shared_buffers: '512MB' } });
  const config = loadConfig(
    {},
    { databaseUrl: postgres.url, modelsDir: `${postgres.dataDirectory}-models`, logLevel: 'error' },
  );
  await using ctx = await createContext(config);
  await initSchema(ctx.pool);
  return {
    server: postgres.version,
    ...(await body({ ctx, pool: ctx.pool, url: postgres.url, logGlob: postgres.logGlob ?? '' })),
  };
}

/** `public.bench` with `rows` rows, and empty `public.bench_v2`: int → bigint, cents → numeric, a column out of jsonb. */
export async function createTables(pool: Pool, rows: number): Promise<void> {
  await pool.query(
    `create table public.bench (id integer primary key, cents integer not null, status text not null, doc jsonb not null, at timestamptz not null);
     create table public.bench_v2 (id bigint primary key, amount numeric(12,2) not null, status smallint not null, city text, at timestamptz not null)`,
  );
  await pool.query(
    `insert into public.bench
     select g, g % 100000, (array['open', 'paid', 'sent'])[1 + g % 3], jsonb_build_object('city', 'city ' || g % 100), now()
       from generate_series(1, $1::int) g`,
    [rows],
  );
  await pool.query('vacuum (analyze) public.bench');
}

/** f as plain SQL, for baselines. */
export const mapSql = `id::bigint, (cents / 100.0)::numeric(12,2),
  (case status when 'open' then 0 when 'paid' then 1 else 2 end)::smallint, doc ->> 'city', at`;

/** No limit of the throttle: where the copy itself is measured, and it is to be as fast as it can. */
export const unthrottled = {
  maxLag: 'none',
  maxActive: 'none',
  checkpointEvery: 'none',
  maxLatency: 'none',
} as const;

export const benchFile = (lanes = 2) =>
  parseMigrationFile({
    name: 'bench',
    source: 'public.bench',
    target: 'public.bench_v2',
    key: ['id'],
    map: {
      amount: 'cents / 100.0',
      status: "(case status when 'open' then 0 when 'paid' then 1 else 2 end)::smallint",
      city: "doc ->> 'city'",
    },
    copy: { lanes },
    throttle: unthrottled,
    cutover: { reads: 'operator', writes: 'operator' },
  });

/** The migration in SHADOWING, with its lanes at work. */
export async function shadowing(ctx: Context, lanes = 2, file = benchFile(lanes)): Promise<Run> {
  const migration: Migration = await plan(ctx, file);
  const begun = await beginShadowing(ctx.pool, migration, {
    lanes,
    clock: ctx.clock,
    onWait: () => undefined,
  });
  const run = new Run(ctx, begun, {});
  await run.startLanes();
  return run;
}

/** Milliseconds that `body` takes. */
export async function timed(body: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await body();
  return performance.now() - started;
}

export const round = (value: number, digits = 3) => Number(value.toFixed(digits));

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
