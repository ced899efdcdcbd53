import { findMigration, type Migration } from '../../src/migration/status.store.ts';
import { copyProgress } from '../../src/sync/lane.queries.ts';
import {
  accountsFile,
  balance,
  createAccounts,
  Load,
  type LoadOptions,
  type LoadWindow,
  openGate,
  phaseOf,
  together,
} from './application.ts';
import { type BenchReport, type BenchServer, median, round } from './server.ts';
import { foreshadow } from './worker.ts';

/** Seconds of each window before the migration, and of each full-speed window. */
const windowSeconds = 10;
const fullSpeedRounds = 3;
/** Rows of the tables that are updated at full speed: what capture adds to an update does not depend on the size. */
const fullSpeedRows = 200_000;

/**
 * What an application notices of a migration, on one machine for everything. Three parts:
 * 1. paced load, before and during a whole migration by `foreshadow run` in a process of its own: shadow, copy at full
 *    speed, indexes, verification, both cutovers. Latency counts from the moment a transaction was due.
 * 2. single-row updates at full speed, on a table with capture and lanes at work and on an equal one without, in turns.
 * 3. `kill -9` of the worker at half of the copy under the same load, and a new one at once: time from the kill until
 *    the copy is further than it was, and rows of T that were written and rolled back, by PostgreSQL's own statistics.
 */
export async function latency(
  server: BenchServer,
  rows: number,
  options: { readonly rate: number },
): Promise<BenchReport> {
  const report = { rows, rate: options.rate };
  return {
    ...report,
    ...(await wholeMigration(server, rows, options.rate)),
    ...(await fullSpeed(server, Math.min(rows, fullSpeedRows))),
    ...(await killed(server, rows, options.rate)),
  };
}

async function wholeMigration(server: BenchServer, rows: number, rate: number): Promise<BenchReport> {
  const { ctx, pool } = server;
  await createAccounts(pool, rows);
  const load = new Load(loadOf(server, 'public.accounts', rows, { rate }));
  await ctx.clock.sleep(3000); // connections, caches
  await load.cut();
  await ctx.clock.sleep(windowSeconds * 1000);
  const before = together([await load.cut()]);
  const file = accountsFile(openGate);
  const worker = await foreshadow(server.ctx.config, file);
  const phases = new Map<string, LoadWindow[]>();
  for (let over = false; !over; ) {
    const phase = phaseOf(await findMigration(pool, file.name));
    over = await Promise.race([worker.ended.then(() => true), ctx.clock.sleep(1000).then(() => false)]);
    phases.set(phase, [...(phases.get(phase) ?? []), await load.cut()]);
  }
  await worker.ended; // throws unless all went well
  const { totals } = await load.stop();
  const during = together([...phases.values()].flat());
  const books = await balance(pool, rows, totals);
  return {
    before,
    during,
    p99_ratio: round(during.p99_ms / before.p99_ms, 2),
    throughput_ratio: round(during.transactions_per_s / before.transactions_per_s, 3),
    by_phase: Object.fromEntries([...phases].map(([phase, windows]) => [phase, together(windows)])),
    application_errors: totals.errors,
    rows_lost: -books.rows,
    updates_lost: -books.amount,
  };
}

/** Turns about: the table without capture, the table with. Both are updated at the same rate otherwise, by four sessions. */
async function fullSpeed(server: BenchServer, rows: number): Promise<BenchReport> {
  const { ctx, pool } = server;
  await createAccounts(pool, rows, 'plain');
  await createAccounts(pool, rows, 'captured');
  const worker = await foreshadow(
    server.ctx.config,
    accountsFile({
      ...openGate,
      cutover: { reads: 'operator' },
      name: 'captured',
      source: 'public.captured',
      target: 'public.captured_v2',
    }),
  );
  while ((await findMigration(pool, 'captured'))?.status !== 'READY') await ctx.clock.sleep(200);
  const windows: Record<string, number[]> = { plain: [], captured: [] };
  for (let i = 0; i < fullSpeedRounds; i++) {
    for (const table of ['plain', 'captured']) {
      const load = new Load(
        loadOf(server, `public.${table}`, rows, { rate: null, sessions: 4, onlyUpdates: true }),
      );
      await ctx.clock.sleep(2000);
      await load.cut();
      await ctx.clock.sleep(windowSeconds * 500);
      windows[table]?.push(together([await load.cut()]).writes_per_s);
      await load.stop();
    }
  }
  await worker.kill();
  const [plain, captured] = [median(windows.plain ?? []), median(windows.captured ?? [])];
  return {
    full_speed_rows: rows,
    writes_per_s_without_capture: plain,
    writes_per_s_with_capture: captured,
    writes_ratio: round(captured / plain, 2),
  };
}

async function killed(server: BenchServer, rows: number, rate: number): Promise<BenchReport> {
  const { ctx, pool } = server;
  await createAccounts(pool, rows, 'kept');
  const load = new Load(loadOf(server, 'public.kept', rows, { rate, onlyUpdates: true }));
  const file = accountsFile({ ...openGate, name: 'kept', source: 'public.kept', target: 'public.kept_v2' });
  const first = await foreshadow(server.ctx.config, file);
  const copied = async () => {
    const migration = await findMigration(pool, file.name);
    return migration?.status === 'IN_PROGRESS' ? (await copyProgress(pool, migration.plan)).copied : 0;
  };
  while ((await copied()) < rows / 2) await ctx.clock.sleep(10);
  const at = performance.now();
  await first.kill();
  const before = await copied();
  const second = await foreshadow(server.ctx.config, file);
  while ((await copied()) <= before) await ctx.clock.sleep(10);
  const seconds = (performance.now() - at) / 1000;
  const { plan } = (await findMigration(pool, file.name)) as Migration;
  while (!(await copyProgress(pool, plan)).done) await ctx.clock.sleep(50);
  await second.kill();
  await load.stop();
  await ctx.clock.sleep(2000); // statistics of ended sessions
  const { rows: found } = await pool.query<{ twice: number }>(
    `select (pg_stat_get_tuples_inserted(oid) - pg_stat_get_tuples_deleted(oid))::float8
            - (select count(*) from ${plan.names.target}) as twice from pg_class where oid = $1`,
    [plan.targetOid],
  );
  return {
    killed_at_rows: before,
    progress_again_after_s: round(seconds, 2),
    rows_copied_twice: found[0]?.twice,
    one_chunk_a_lane_rows: file.copy.chunkRows * file.copy.lanes,
  };
}

const loadOf = (
  { ctx }: BenchServer,
  table: string,
  rows: number,
  more: Partial<LoadOptions> & { readonly rate: number | null },
): LoadOptions => ({ url: ctx.config.databaseUrl as string, table, rows, sessions: 8, ...more });
