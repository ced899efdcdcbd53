import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createContext } from '../context.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { ForeshadowError } from '../core/errors.ts';
import { initSchema } from '../db/migrate.ts';
import { getMigration } from '../migration/status.store.ts';
import type { StatusDocument } from '../migration/status.ts';
import { type PipelineEvent, runMigration } from '../pipeline.ts';
import { type CopySample, coverageCurve } from './copy-order.ts';
import { CopyWatch } from './copy-watch.ts';
import { type DemoReport, demoReport, round } from './document.ts';
import { hitShares, insertedAfter, latencies, oracleShare, readCounts } from './measure.ts';
import type { ApplicationSummary } from './messages.ts';
import { createProgress } from './progress.ts';
import { type OperationRecord, parseRecord } from './record.ts';
import { migrationFile, migrationName } from './schema.ts';
import { Stage } from './stage.ts';

export interface DemoOptions {
  /** the report will be printed as JSON: progress lines come without the time in front */
  readonly json: boolean;
  /** after the end, keep the server open until the signal */
  readonly serve?: boolean;
  /** orders in the shop, 200,000 */
  readonly rows?: number;
  /** how long the application runs before the migration starts, 52: it learns from this history */
  readonly warmupSeconds?: number;
  /** how long the application goes on afterwards, 10 */
  readonly afterSeconds?: number;
  /** the application's statements a second, 600: it leaves a small machine time for the migration */
  readonly rate?: number;
  readonly onProgress?: (line: string) => void;
  readonly signal?: AbortSignal;
}

type ReadsCutOver = Extract<PipelineEvent, { type: 'reads-cut-over' }>;

/** Hit shares are taken from the application's record of so many seconds after the read cutover. */
const hitWindow = 20;
/** The application's first seconds fill caches, and would make "before" look worse than it is. */
const settling = 5;

/**
 * A live table migrated from beginning to end on a PostgreSQL of its own, everything checked, and nothing left behind,
 * however it ends.
 * @throws ForeshadowError INTERRUPTED by the signal; otherwise whatever the embedded server and the pipeline throw
 */
export async function runDemo(options: DemoOptions): Promise<DemoReport> {
  const { rows = 200_000, rate = 600, json, signal, onProgress } = options;
  const clock = systemClock;
  const began = clock.now();
  const elapsed = () => clock.now() - began;
  const tell = (line: string) => onProgress?.(json ? line : `${elapsed().toFixed(1).padStart(6)} s  ${line}`);
  let stage: Stage | null = null;
  try {
    stage = await Stage.set({ rows, rate, tell, signal });
    const act = await perform(stage, options, tell, clock);
    const report = await takeStock(stage, act, elapsed);
    if (options.serve) await keepOpen(stage, signal, tell);
    return report;
  } catch (error) {
    if (!signal?.aborted || error instanceof ForeshadowError) throw error;
    throw new ForeshadowError('INTERRUPTED', 'the demo was interrupted', {}, { cause: error });
  } finally {
    await stage?.[Symbol.asyncDispose]();
  }
}

/** What happened, and when; times in seconds since the epoch. */
interface Act {
  readonly opened: number;
  readonly started: number;
  readonly completed: number;
  readonly ended: number;
  readonly status: StatusDocument;
  readonly reads: ReadsCutOver | null;
  readonly copy: readonly CopySample[];
  readonly summary: ApplicationSummary;
  readonly logBytesPerSecond: number;
}

/** Warm-up, migration, and the application going on for a while on the target. */
async function perform(
  stage: Stage,
  { warmupSeconds = 52, afterSeconds = 10, signal }: DemoOptions,
  tell: (line: string) => void,
  clock: Clock,
): Promise<Act> {
  const opened = clock.now();
  const logBefore = await stage.queryLogBytes();
  tell(`the application is at work; ${warmupSeconds} s of it make a history to learn from`);
  await clock.sleep(warmupSeconds * 1000, signal);

  let reads: ReadsCutOver | null = null;
  let completed = Number.POSITIVE_INFINITY;
  const started = clock.now();
  const logBytesPerSecond = ((await stage.queryLogBytes()) - logBefore) / (started - opened);
  const progress = createProgress();
  const onEvent = (event: PipelineEvent) => {
    if (event.type === 'reads-cut-over') reads = event;
    if (event.type === 'status' && event.status === 'COMPLETED') completed = event.at;
    const line = progress(event);
    if (line !== null) tell(line);
  };
  const copy = new CopyWatch();
  const status = await migrate(stage, copy, onEvent, signal);

  // the window of the hit shares must be over before the application ends
  const cutOver = (reads as ReadsCutOver | null)?.at ?? Number.NEGATIVE_INFINITY;
  const until = Math.max(completed + afterSeconds, cutOver + hitWindow + 0.5);
  if (Number.isFinite(until)) {
    tell('the application goes on for a while on the target');
    await clock.sleep(Math.max(0, until - clock.now()) * 1000, signal);
  }
  const ended = clock.now();
  tell('the application stops, and holds the table against its own books');
  const summary = await stage.application.stop();
  return { opened, started, completed, ended, status, reads, copy: copy.samples, summary, logBytesPerSecond };
}

async function migrate(
  stage: Stage,
  copy: CopyWatch,
  onEvent: (event: PipelineEvent) => void,
  signal: AbortSignal | undefined,
): Promise<StatusDocument> {
  const { server, rows, queryLog, folder } = stage;
  const ctx = await createContext({
    databaseUrl: server.url,
    modelsDir: join(folder, 'models'),
    logLevel: 'warn',
  });
  try {
    await initSchema(ctx.pool);
    return await runMigration(ctx, migrationFile({ rows, queryLog }), {
      onEvent: (event) => {
        if (event.type === 'status' && event.status === 'IN_PROGRESS')
          copy.start(ctx.pool, async () => (await getMigration(ctx.pool, migrationName)).plan);
        onEvent(event);
      },
      ...(signal ? { signal } : {}),
    });
  } finally {
    await copy.stop();
    await ctx.close();
  }
}

/** From the application's record and the migration's last status to the report. */
async function takeStock(stage: Stage, act: Act, elapsed: () => number): Promise<DemoReport> {
  const { opened, started, completed, ended, status, reads, summary } = act;
  const text = await readFile(stage.record, 'utf8');
  const records = text.trimEnd().split('\n').map(parseRecord);
  const latency = latencies(records, {
    before: { from: opened + Math.min(settling, (started - opened) / 2), to: started },
    during: { from: started, to: completed },
    after: { from: completed, to: ended },
  });
  const served = { source: 0, overlay: 0, target: 0 };
  for (const record of records) served[record.served]++;
  return demoReport({
    rows: stage.rows,
    elapsed: elapsed(),
    timeToReads: reads && reads.at - started,
    timeToComplete: Number.isFinite(completed) ? completed - started : null,
    status,
    shadow: judgeShadow(records, reads, stage.rows),
    coverage: judgeOrder(records, act),
    latency,
    app: {
      reads: summary.reads,
      writes: summary.writes,
      errors: summary.errors,
      retries: summary.retries,
      stale: summary.stale,
      compared: summary.compared,
      statements_per_s: round((summary.reads + summary.writes) / summary.seconds, 1),
      cpu_share: round(summary.cpu, 3),
      served,
      error_texts: summary.errorTexts,
      audit: summary.audit,
    },
    queryLog: { mb_per_s: round(act.logBytesPerSecond / 1e6, 3) },
  });
}

/** Membership as it was at the read cutover, held against what the application then read. */
function judgeShadow(
  records: readonly OperationRecord[],
  reads: ReadsCutOver | null,
  rows: number,
): DemoReport['shadow'] {
  const none = {
    fraction: 0,
    rows: 0,
    hit_share: null,
    random: null,
    lfu: null,
    lru: null,
    ewma: null,
    oracle: null,
  };
  if (!reads) return { ...none, window_s: hitWindow, reads: 0 };
  const { at, budget, sets } = reads;
  const counts = readCounts(records, { from: at, to: at + hitWindow });
  const { reads: total, shares } = hitShares(counts, sets);
  const later = insertedAfter(records, at);
  const digits = (share: number | null) => (share === null ? null : round(share, 4));
  return {
    fraction: round(budget / rows, 4),
    rows: budget,
    hit_share: digits(shares.shadow),
    random: digits(shares.random),
    lfu: digits(shares.lfu),
    lru: digits(shares.lru),
    ewma: digits(shares.ewma),
    oracle: digits(oracleShare(counts, budget, (key) => !later.has(key))),
    window_s: hitWindow,
    reads: total,
  };
}

/** The order of the copy, held against other orders by what the application read meanwhile. */
function judgeOrder(
  records: readonly OperationRecord[],
  { reads, copy }: Pick<Act, 'reads' | 'copy'>,
): DemoReport['coverage'] {
  const shadow = reads?.sets.get('shadow');
  const curve = shadow ? coverageCurve(records, copy, shadow) : null;
  if (!curve) return null;
  const rounded = <T extends object>(shares: T) =>
    Object.fromEntries(Object.entries(shares).map(([name, share]) => [name, round(share, 4)])) as T;
  return {
    reads: curve.reads,
    window_s: round(curve.seconds, 1),
    points: curve.points.map(rounded),
    area: rounded(curve.area),
  };
}

function keepOpen(
  stage: Stage,
  signal: AbortSignal | undefined,
  tell: (line: string) => void,
): Promise<void> {
  tell(`the server stays open until you stop it: ${stage.server.url}`);
  return new Promise((resolve) => {
    if (!signal || signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
