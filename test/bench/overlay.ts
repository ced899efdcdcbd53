import type { Pool } from 'pg';
import { wantRandom } from '../../src/shadow/wanted.queries.ts';
import { sourceRanges } from '../../src/sync/chunk.queries.ts';
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

/** Lookups by key through the overlay, of rows that T has and of rows that only S has, against an equal plain table. */
export async function overlay({ ctx, pool }: BenchServer, rows: number): Promise<BenchReport> {
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
  const report: Record<string, unknown> = { rows, rounds, lookups, members: hits.length };
  for (const [name, keys] of [
    ['hit', hits],
    ['miss', misses],
  ] as const) {
    for (const limit of ['', ' limit 1']) {
      const plain: number[] = [];
      const through: number[] = [];
      for (let i = 0; i < rounds; i++) {
        plain.push(await microseconds(pool, `select * from public.plain where id = $1${limit}`, keys));
        through.push(await microseconds(pool, `select * from public.bench_v2 where id = $1${limit}`, keys));
      }
      const label = `${name}${limit ? '_limit_1' : ''}`;
      report[`${label}_plain_us`] = round(median(plain), 1);
      report[`${label}_overlay_us`] = round(median(through), 1);
      report[`${label}_ratio`] = round(median(through) / median(plain), 2);
    }
  }
  await run.close();
  return report;
}

async function ids(pool: Pool, sql: string): Promise<string[]> {
  return (await pool.query<{ id: string }>(sql)).rows.map((row) => row.id);
}

/** Mean time of one prepared lookup, client and server together. */
async function microseconds(pool: Pool, sql: string, keys: readonly string[]): Promise<number> {
  const client = await pool.connect();
  try {
    const name = `lookup ${sql}`.slice(0, 60);
    for (const key of keys.slice(0, 50)) await client.query({ name, text: sql, values: [key] });
    const started = performance.now();
    for (const key of keys) await client.query({ name, text: sql, values: [key] });
    return ((performance.now() - started) * 1000) / keys.length;
  } finally {
    client.release();
  }
}
