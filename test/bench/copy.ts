import { initSchema } from '../../src/db/migrate.ts';
import { abort, uninstall } from '../../src/migration/abort.ts';
import { cutOverReads } from '../../src/migration/cutover/reads.ts';
import { moveStatus } from '../../src/migration/status.store.ts';
import { copyProgress } from '../../src/sync/lane.queries.ts';
import {
  type BenchReport,
  type BenchServer,
  createTables,
  mapSql,
  median,
  round,
  shadowing,
  timed,
} from './server.ts';

const rounds = 3;

/** The copy with capture on, by one lane and by two, against one INSERT … SELECT of the same map into an equal table. */
export async function copy({ ctx, pool }: BenchServer, rows: number): Promise<BenchReport> {
  await createTables(pool, rows);
  const plain: number[] = [];
  const byLanes: Record<number, number[]> = { 1: [], 2: [] };
  for (let i = 0; i < rounds; i++) {
    await pool.query('create table public.plain (like public.bench_v2 including all)');
    plain.push(await timed(() => pool.query(`insert into public.plain select ${mapSql} from public.bench`)));
    await pool.query('drop table public.plain');
    for (const lanes of [1, 2]) {
      await initSchema(pool);
      const run = await shadowing(ctx, lanes);
      const ready = await moveStatus(pool, run.migration, 'SHADOWING', 'READY');
      byLanes[lanes]?.push(
        await timed(async () => {
          await cutOverReads(pool, ready);
          while (!(await copyProgress(pool, run.migration.plan)).done) {
            run.lanes?.check();
            await ctx.clock.sleep(10);
          }
        }),
      );
      await run.close();
      await abort(pool, 'bench', { clock: ctx.clock, grace: 0 });
      await uninstall(pool, { clock: ctx.clock, grace: 0, dropOldTables: false });
    }
  }
  const rate = (ms: readonly number[] | undefined) => round(rows / (median(ms ?? []) / 1000), 0);
  return {
    rows,
    rounds,
    insert_select_rows_per_s: rate(plain),
    one_lane_rows_per_s: rate(byLanes[1]),
    two_lanes_rows_per_s: rate(byLanes[2]),
    one_lane_ratio: round(rate(byLanes[1]) / rate(plain)),
    two_lanes_ratio: round(rate(byLanes[2]) / rate(plain)),
  };
}
