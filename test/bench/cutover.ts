import type { Context } from '../../src/context.ts';
import { beginShadowing } from '../../src/migration/begin.ts';
import { cutOverReads } from '../../src/migration/cutover/reads.ts';
import { cutOverWrites } from '../../src/migration/cutover/writes.ts';
import { eventsAfter } from '../../src/migration/events.queries.ts';
import { finishTarget, settleTarget } from '../../src/migration/finish-target.ts';
import {
  databaseNow,
  getMigration,
  type Migration,
  moveStatus,
  updateStatus,
} from '../../src/migration/status.store.ts';
import { beginVerification, requireEqual, verificationOf, verifyNext } from '../../src/migration/verify.ts';
import { Run } from '../../src/pipeline/run.ts';
import { plan } from '../../src/pipeline.ts';
import { backlog, copyProgress } from '../../src/sync/lane.queries.ts';
import { accountsFile, balance, createAccounts, Load } from './application.ts';
import { type BenchReport, type BenchServer, median, round } from './server.ts';

/** A budget that is never short, so that what a lock takes is measured and not what it is cut off at. */
const maxAttempts = 200;

interface Cycle {
  readonly attempts: number;
  readonly writers: { readonly wait: number; readonly hold: number };
  readonly readers: { readonly wait: number; readonly hold: number };
  readonly longestStatement: number;
  readonly failures: readonly string[];
}

/**
 * The write cutover, again and again on one table under load: each swap rolls forward to the next migration, whose target
 * is the table that the last swap replaced, so integer and numeric take turns.
 *
 * Real, and measured: capture, lanes that bring the changes of a live application, `cutOverWrites` with all its attempts,
 * the guard and its removal. Waits and holds are those that the migration's own events record, of the attempt that got
 * through; the longest statement is the application's, over the whole swap, failed attempts included.
 * Left out: the copy. The replaced table still holds what it held when it was replaced, so instead of copying all rows
 * again, the keys that have changed since (rows by their xmin, and all that came or went) are put into the key log by
 * hand, and lanes refresh them; ranges count as copied from the start. Preflight wants an empty target: it sees an empty
 * twin, whose place the filled table takes before anything begins. Verified in full on the first and the last cycle, and
 * by the application's own books at the end.
 */
export async function cutover(
  { ctx, pool }: BenchServer,
  rows: number,
  options: { readonly cycles: number; readonly rate: number },
): Promise<BenchReport> {
  await createAccounts(pool, rows);
  // The first migration is a real one: it copies, and so makes the two tables that then take turns.
  const load = new Load({
    url: ctx.config.databaseUrl as string,
    table: 'public.accounts',
    rows,
    sessions: 8,
    rate: options.rate,
  });
  const cycles: Cycle[] = [];
  let transactions = 0;
  let seconds = 0;
  for (let i = 0; i <= options.cycles; i++) {
    const migration = await planned(ctx, i);
    const verified = i === 1 || i === options.cycles;
    const run = i === 0 ? await copied(ctx, migration) : await filled(ctx, migration);
    if (verified) await verify(ctx, run);
    await pool.query(`vacuum (analyze) ${migration.plan.names.target}`);
    await load.cut();
    const cycle = await swap(ctx, run);
    const seen = await load.cut();
    transactions += seen.latencies.length;
    seconds += seen.seconds;
    // the first swap warms up
    if (i > 0) cycles.push({ ...cycle, longestStatement: seen.longestStatement });
  }
  const { totals } = await load.stop();
  const differences = await balance(pool, rows, totals);
  const all = (pick: (cycle: Cycle) => number) => {
    const values = cycles.map(pick);
    return { median: round(median(values), 1), most: round(Math.max(...values), 1) };
  };
  return {
    rows,
    cycles: cycles.length,
    transactions_per_s: Math.round(transactions / seconds),
    attempts: all((cycle) => cycle.attempts),
    first_attempt: cycles.filter((cycle) => cycle.attempts === 1).length,
    writers_wait_ms: all((cycle) => cycle.writers.wait),
    writers_hold_ms: all((cycle) => cycle.writers.hold),
    readers_wait_ms: all((cycle) => cycle.readers.wait),
    readers_hold_ms: all((cycle) => cycle.readers.hold),
    longest_statement_ms: all((cycle) => cycle.longestStatement),
    failed_attempts: counted(cycles.flatMap((cycle) => cycle.failures)),
    application_errors: totals.errors,
    rows_lost: -differences.rows,
    updates_lost: -differences.amount,
  };
}

/** Plans the next migration. From the second on its target is the table that the last one replaced. */
async function planned(ctx: Context, i: number): Promise<Migration> {
  const { pool } = ctx;
  const file = accountsFile({
    name: `accounts-${i}`,
    map: { amount: i % 2 ? 'amount::integer' : 'amount::numeric(12,2)' },
    copy: { lanes: 2 },
    cutover: { reads: 'operator', writes: 'operator' },
  });
  if (i === 0) return plan(ctx, file);
  await pool.query(
    `drop view public.accounts_v2;
     alter table foreshadow.accounts_old set schema public;
     create table public.accounts_v2 (like public.accounts_old including all)`,
  );
  const migration = await plan(ctx, file);
  await pool.query('drop table public.accounts_v2; alter table public.accounts_old rename to accounts_v2');
  await pool.query(
    `update foreshadow.migration_status
        set target_oid = 'public.accounts_v2'::regclass,
            plan = jsonb_set(plan::jsonb, '{targetOid}', to_jsonb('public.accounts_v2'::regclass::oid::int8))
      where id = $1`,
    [migration.id],
  );
  return getMigration(pool, migration.name);
}

async function begun(ctx: Context, migration: Migration): Promise<Run> {
  const moved = await beginShadowing(ctx.pool, migration, {
    lanes: 2,
    clock: ctx.clock,
    onWait: () => undefined,
  });
  return new Run(ctx, moved, {});
}

async function reading(ctx: Context, run: Run): Promise<void> {
  run.migration = await cutOverReads(
    ctx.pool,
    await moveStatus(ctx.pool, run.migration, 'SHADOWING', 'READY'),
  );
}

async function settled(ctx: Context, run: Run): Promise<void> {
  await updateStatus(ctx.pool, run.migration.id, { copied_at: databaseNow, phase: 'ready' });
  while ((await backlog(ctx.pool, run.migration.plan)) > 100) {
    run.check();
    await ctx.clock.sleep(20);
  }
  await run.refresh();
}

async function copied(ctx: Context, migration: Migration): Promise<Run> {
  const run = await begun(ctx, migration);
  await run.startLanes();
  await reading(ctx, run);
  while (!(await copyProgress(ctx.pool, migration.plan)).done) {
    run.check();
    await ctx.clock.sleep(50);
  }
  await finishTarget(ctx.pool, run.migration, { clock: ctx.clock, onStep: async () => undefined });
  await settled(ctx, run);
  return run;
}

/** T holds what it held when it was replaced: whatever has changed since is logged by hand, and lanes bring it. */
async function filled(ctx: Context, migration: Migration): Promise<Run> {
  const { pool } = ctx;
  const { names } = migration.plan;
  const run = await begun(ctx, migration);
  await pool.query(`update ${names.range} set done = true`);
  await reading(ctx, run);
  const { rows } = await pool.query<{ xid: string }>('select xid from public.bench_replaced');
  const changed = await pool.query(
    `insert into ${names.keyLog} (k1, m1, op)
     select id, id, 'U' from ${names.source} where xmin::text::bigint >= $1
     union all
     select t.id, t.id, 'U' from ${names.target} t where not exists (select 1 from ${names.source} s where s.id = t.id)`,
    [rows[0]?.xid],
  );
  if (!changed.rowCount) throw new Error('the application has changed nothing since the last swap');
  await run.startLanes();
  await settled(ctx, run);
  return run;
}

async function verify(ctx: Context, { migration }: Run): Promise<void> {
  let progress = beginVerification();
  while (!progress.done) {
    progress = await verifyNext(ctx.pool, migration.plan, progress, {
      clock: ctx.clock,
      repair: false,
      check: () => undefined,
    });
  }
  requireEqual(migration.plan, verificationOf(progress));
}

async function swap(ctx: Context, run: Run): Promise<Omit<Cycle, 'longestStatement'>> {
  const { pool, clock } = ctx;
  // Every transaction that the replaced table may not know is as young as this one, or younger.
  await pool.query(
    `drop table if exists public.bench_replaced;
     create table public.bench_replaced as select pg_snapshot_xmin(pg_current_snapshot())::text as xid`,
  );
  const failures: string[] = [];
  const completed = await cutOverWrites(await run.refresh(), {
    pool,
    connect: () => ctx.connect('cutover'),
    clock,
    maxAttempts,
    onWait: async (reason) => void failures.push(reason),
  });
  await run.close();
  await settleTarget(pool, completed, clock, async () => true);
  const events = await eventsAfter(pool, completed.id, null, 100);
  const lock = (kind: string) =>
    events.find((event) => event.kind === 'lock' && event.detail.kind === kind)?.detail as Record<
      string,
      number
    >;
  const of = (kind: string) => ({ wait: lock(kind).wait_ms as number, hold: lock(kind).hold_ms as number });
  return {
    attempts: lock('cutover-writers').attempts as number,
    writers: of('cutover-writers'),
    readers: of('cutover-readers'),
    failures,
  };
}

/** How often each kind of reason came, without its numbers. */
function counted(reasons: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const reason of reasons) {
    const kind = reason
      .replace(/^write cutover, attempt \d+: /, '')
      .replace(/[:(].*/s, '')
      .trim();
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}
