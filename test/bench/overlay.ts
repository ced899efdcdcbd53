import type { Pool, PoolClient } from 'pg';
import { wantRandom } from '../../src/shadow/wanted.queries.ts';
import { sourceRanges } from '../../src/sync/chunk.queries.ts';
import { backlog } from '../../src/sync/lane.queries.ts';
import {
  type BenchReport,
  type BenchServer,
  createTables,
  mapSql,
  median,
  round,
  shadowing,
} from './server.ts';

const lookups = 2000;
const rounds = 5;

/** Log rows that one statement makes; lanes consume them before the next one. */
const batch = 100_000;

/**
 * Lookups by key through the overlay, of rows that T has and of rows that only S has, with and without LIMIT, against an
 * equal plain table; when the migration is fresh, and again when `options.passed` rows have gone through the key log and
 * its vacuums, by sessions that have planned before and by new ones: plans must stay what they were.
 */
export async function overlay(
  { ctx, pool }: BenchServer,
  rows: number,
  options: { readonly passed: number },
): Promise<BenchReport> {
  await createTables(pool, rows);
  await pool.query(
    `create table public.plain (like public.bench_v2 including all); insert into public.plain select ${mapSql} from public.bench`,
  );
  await pool.query('vacuum (analyze) public.plain');
  const run = await shadowing(ctx);
  const { plan } = run.migration;
  for (const bounds of await sourceRanges(pool, plan)) await wantRandom(pool, plan, bounds, 0, 0.1);
  while ((await pool.query(`select 1 from ${plan.names.member} where state = 'wanted' limit 1`)).rowCount)
    await ctx.clock.sleep(50);
  await pool.query(`vacuum (analyze) ${plan.names.target}`);
  const hits = await ids(
    pool,
    `select id::text from ${plan.names.target} order by hashint8(id) limit ${lookups}`,
  );
  const misses = await ids(
    pool,
    `select id::text from public.bench s where not exists (select 1 from ${plan.names.target} t where t.id = s.id) order by hashint4(id) limit ${lookups}`,
  );
  const keys = { hit: hits, miss: misses };
  const planned = await pool.connect();
  const fresh = await compare(planned, keys);
  const taken = () => run.lanes?.totals.taken ?? 0;
  for (let round = 0; taken() < options.passed; round++) {
    await pool.query(
      `update public.bench set cents = cents + 1
        where id in (select 1 + (g::bigint * 7919 + $1) % $2 from generate_series(1, $3::int) g)`,
      [round * batch, rows, batch],
    );
    while ((await backlog(pool, plan)) > 0) {
      run.check();
      await ctx.clock.sleep(20);
    }
  }
  const passed = taken(); // closing the run ends its lanes, and their count with them
  const later = await compare(planned, keys);
  planned.release();
  const replanned = await pool.connect();
  await replanned.query('discard plans');
  const anew = await compare(replanned, keys);
  replanned.release(true);
  await run.close();
  return {
    rows,
    rounds,
    lookups,
    members: hits.length,
    fresh,
    log_rows_passed: passed,
    later,
    later_new_session: anew,
  };
}

async function compare(
  client: PoolClient,
  keys: Readonly<Record<'hit' | 'miss', readonly string[]>>,
): Promise<BenchReport> {
  const report: Record<string, unknown> = {};
  for (const name of ['hit', 'miss'] as const) {
    for (const limit of ['', ' limit 1']) {
      const plain: number[] = [];
      const through: number[] = [];
      for (let i = 0; i < rounds; i++) {
        plain.push(
          await microseconds(client, `select * from public.plain where id = $1${limit}`, keys[name]),
        );
        through.push(
          await microseconds(client, `select * from public.bench_v2 where id = $1${limit}`, keys[name]),
        );
      }
      const label = `${name}${limit ? '_limit_1' : ''}`;
      report[`${label}_plain_us`] = round(median(plain), 1);
      report[`${label}_overlay_us`] = round(median(through), 1);
      report[`${label}_ratio`] = round(median(through) / median(plain), 2);
    }
  }
  return report;
}

async function ids(pool: Pool, sql: string): Promise<string[]> {
  return (await pool.query<{ id: string }>(sql)).rows.map((row) => row.id);
}

/** Mean time of one prepared lookup, client and server together. */
async function microseconds(client: PoolClient, sql: string, keys: readonly string[]): Promise<number> {
  const name = `lookup ${sql}`.slice(0, 60);
  for (const key of keys.slice(0, 50)) await client.query({ name, text: sql, values: [key] });
  const started = performance.now();
  for (const key of keys) await client.query({ name, text: sql, values: [key] });
  return ((performance.now() - started) * 1000) / keys.length;
}
