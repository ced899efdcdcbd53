import { parseMigrationFile } from '../../src/config/migration-file.ts';
import { type CoverageCurve, coverageCurve } from '../../src/demo/copy-order.ts';
import { CopyWatch } from '../../src/demo/copy-watch.ts';
import { cutOverReads } from '../../src/migration/cutover/reads.ts';
import { moveStatus } from '../../src/migration/status.store.ts';
import { heatRanges } from '../../src/pipeline/choice.ts';
import { mine, resample, train } from '../../src/pipeline/steps.ts';
import { shadowCounts, storedMembers } from '../../src/shadow/members.queries.ts';
import { copyProgress } from '../../src/sync/lane.queries.ts';
import { type DriftOptions, driftingReads, Reads } from './drifting.ts';
import {
  type BenchReport,
  type BenchServer,
  benchFile,
  createTables,
  round,
  shadowing,
  withBenchServer,
} from './server.ts';

export interface OrderOptions extends Omit<DriftOptions, 'rows'> {
  /** that the copy is made to last */
  readonly seconds: number;
  /** seconds of reads to learn from */
  readonly warmup: number;
  /** reads a second */
  readonly rate: number;
}

/** Share of the rows in the shadow: less than the reads of the warm-up touch. */
const fraction = 0.005;

/**
 * The share of reads that the target could serve, against the share of the table that has been copied: once with the
 * hottest ranges first, once in key order (no range has any heat, so each lane begins at its lowest key), on equal
 * tables, each on a server of its own, under the same reads of a hot set that moves on meanwhile.
 */
export async function order(rows: number, options: OrderOptions): Promise<BenchReport> {
  const hottest = await withBenchServer((server) => once(server, rows, true, options));
  const byKey = await withBenchServer((server) => once(server, rows, false, options));
  const [a, b] = [hottest.curve as CoverageCurve, byKey.curve as CoverageCurve];
  const line = (curve: CoverageCurve, of: keyof CoverageCurve['area']) => ({
    ...Object.fromEntries(
      curve.points.map((point) => [`at_${Math.round(100 * point.copied)}_percent`, round(point[of])]),
    ),
    area: round(curve.area[of]),
  });
  return {
    server: hottest.server,
    rows,
    ...options,
    predictor: hottest.predictor,
    shadow_rows: hottest.shadow,
    reads: a.reads,
    copy_s: round(a.seconds, 1),
    hottest_first: line(a, 'as_it_went'),
    key_order: line(b, 'as_it_went'),
    area_ratio: round(a.area.as_it_went / b.area.as_it_went),
    /** by the reads of the first run: one cursor through the whole table instead of one a lane */
    counted: {
      key_order: line(a, 'key_order'),
      key_order_no_shadow: line(a, 'key_order_no_shadow'),
    },
  };
}

async function once(
  { ctx, pool, logGlob }: BenchServer,
  rows: number,
  hottestFirst: boolean,
  options: OrderOptions,
): Promise<{ curve: CoverageCurve; predictor: string; shadow: number }> {
  await createTables(pool, rows);
  const reads = new Reads(
    ctx.config.databaseUrl as string,
    options.rate,
    driftingReads({ rows, ...options }),
  );
  const file = parseMigrationFile({
    ...benchFile(),
    shadow: { fraction },
    predict: { horizon: '5s' },
    confidence: { threshold: 0, fieldThreshold: 0 },
    queryLog: { path: logGlob },
    copy: { chunkRows: 1000, rowsPerSecond: Math.ceil(rows / options.seconds) },
  });
  const run = await shadowing(ctx, file.copy.lanes, file);
  const watch = new CopyWatch();
  try {
    const { plan } = run.migration;
    await ctx.clock.sleep(options.warmup * 1000);
    await mine(run);
    await train(run);
    await mine(run);
    await resample(run);
    for (let counts = await shadowCounts(pool, plan); counts.present < counts.wanted; ) {
      run.check();
      await ctx.clock.sleep(50);
      counts = await shadowCounts(pool, plan);
    }
    if (!run.live.choice) throw new Error('no shadow was chosen');
    if (hottestFirst) await heatRanges(ctx, run.migration, run.live.choice.signals);
    await cutOverReads(pool, await moveStatus(pool, run.migration, 'SHADOWING', 'READY'));
    watch.start(pool, async () => plan);
    const members = await storedMembers(pool, plan, 'all');
    const shadow = new Set(members.filter((member) => member.state !== 'wanted').map((member) => member.id));
    while (!(await copyProgress(pool, plan)).done) {
      run.check();
      await ctx.clock.sleep(200);
    }
    await ctx.clock.sleep(500); // the watch sees it too
    const curve = coverageCurve(await reads.stop(), watch.samples, shadow);
    if (!curve) throw new Error('the copy was over before it was looked at');
    return {
      curve,
      predictor: run.live.choice.manifest?.predictor ?? 'recent use',
      shadow: shadow.size,
    };
  } finally {
    await reads.stop().catch(() => undefined);
    await watch.stop();
    await run.close();
  }
}
