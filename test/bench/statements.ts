import pg from 'pg';
import { parseMigrationFile } from '../../src/config/migration-file.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { reportStatements } from '../../src/pipeline/statements.ts';
import { wantRandom } from '../../src/shadow/wanted.queries.ts';
import { sourceRanges } from '../../src/sync/chunk.queries.ts';
import { inNewFormat, logged, shopFile, shopReads, shopSql, useShop } from '../support/shop.ts';
import { type BenchReport, type BenchServer, median, round, shadowing } from './server.ts';

const rounds = 5;

/** An ordinary session, with the search path of one. */
async function open(url: string, more: pg.ClientConfig = {}): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, application_name: 'shop', ...more });
  await client.connect();
  return client;
}

interface Read {
  readonly text: string;
  readonly values?: unknown[];
}

/** Milliseconds inside the server; the answer's way to the client is left out. */
async function measured(client: pg.Client, { text, values }: Read): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const { rows } = await client.query(`explain (analyze, timing off, format json) ${text}`, values);
    times.push(rows[0]['QUERY PLAN'][0]['Execution Time']);
  }
  return median(times);
}

/**
 * Reads of a shop, on the source and through the overlay with half of the rows in the target: what `doctor --statements`
 * said of each before the migration began, what the clock says, and what the advised indexes make of it.
 */
export async function statements(
  { ctx, pool, logGlob, url }: BenchServer,
  rows: number,
): Promise<BenchReport> {
  const maker = await open(url);
  await maker.query(shopSql(rows));
  await maker.end();
  await pool.query('vacuum (analyze) public.orders');
  const app = await open(url, logged);
  await useShop(app);
  await app.end();
  const file = parseMigrationFile({
    ...shopFile,
    queryLog: { path: logGlob },
    cutover: { reads: 'operator', writes: 'operator' },
  });
  const began = performance.now();
  const report = await reportStatements(ctx, file, await preflight(pool, file));
  const took = performance.now() - began;
  const run = await shadowing(ctx, 2, file);
  const { plan } = run.migration;
  for (const bounds of await sourceRanges(pool, plan)) await wantRandom(pool, plan, bounds, 0, 0.5);
  while ((await pool.query(`select 1 from ${plan.names.member} where state = 'wanted' limit 1`)).rowCount)
    await ctx.clock.sleep(100);
  await pool.query(`vacuum (analyze) ${plan.names.target}`);
  const user = await open(url);
  const figures: Record<string, Record<string, unknown>> = {};
  for (const [name, read] of Object.entries(shopReads)) {
    const found = report.statements.find(({ statement }) => statement === read.shape);
    const source = await measured(user, read);
    const overlay = await measured(user, { ...read, text: inNewFormat(read.text) });
    figures[name] = {
      source_ms: round(source),
      overlay_ms: round(overlay),
      ratio: round(overlay / source, 1),
      called_slow: found?.slow_on_overlay !== null,
    };
  }
  const advised = report.indexes.filter(({ why }) => why === 'overlay');
  for (const { sql } of advised) await pool.query(sql.replace(plan.names.overlay, plan.names.target));
  await pool.query(`analyze public.orders`);
  await pool.query(`analyze ${plan.names.target}`);
  for (const [name, read] of Object.entries(shopReads)) {
    const now = await measured(user, { ...read, text: inNewFormat(read.text) });
    Object.assign(figures[name] as object, { with_indexes_ms: round(now) });
  }
  await user.end();
  await run.close();
  const slower = Object.values(figures).filter(
    ({ ratio, overlay_ms }) => Number(ratio) >= 5 && Number(overlay_ms) >= 2,
  );
  return {
    rows,
    report_s: round(took / 1000, 1),
    indexes_advised: advised.length,
    statements: figures,
    five_times_slower: slower.length,
    of_these_not_named: slower.filter(({ called_slow }) => !called_slow).length,
    named_and_not_five_times_slower: Object.values(figures).filter(
      (each) => each.called_slow && !slower.includes(each),
    ).length,
  };
}
