import type { Pool } from 'pg';
import { findMigration, type Migration } from '../../src/migration/status.store.ts';
import { accountsFile, createAccounts, Load, openGate, phaseOf } from './application.ts';
import { type BenchReport, type BenchServer, median, round, unthrottled } from './server.ts';
import { foreshadow } from './worker.ts';

/** Shares of the copy at which the progress that the status tells is held against the rows themselves. */
const looks = [0.2, 0.4, 0.6, 0.8];

const kinds: Readonly<
  Record<string, { readonly rows?: number; readonly throttle?: object; readonly copy?: object }>
> = {
  throttled: {},
  unthrottled: { throttle: unthrottled },
  // 50 s, whatever the machine does: at a speed that it can keep all the time, what is left is the estimate's own error
  limited: { rows: 1_000_000, throttle: unthrottled, copy: { rowsPerSecond: 20_000 } },
};

interface Seen {
  /** ms */
  readonly at: number;
  /** of the copy */
  readonly share: number;
  /** seconds until the copy is over, and until writes may be cut over, as the status said */
  readonly copy: number | null;
  readonly all: number | null;
}

/**
 * What the status says of a migration's progress and end, against what came: every estimate after a tenth of the copy, under
 * a paced load, with the throttle, at full speed, and at a limited rate.
 */
export async function estimates(
  server: BenchServer,
  rows: number,
  options: {
    readonly rate: number;
    /** ends when all is copied: a longer copy, in the same time */
    readonly copyOnly: boolean;
    /** one of the three kinds of copy; null: all of them */
    readonly only: string | null;
    /** of the shadow, which is filled before the copy */
    readonly fraction: number;
  },
): Promise<BenchReport> {
  if (options.only !== null && !(options.only in kinds))
    throw new Error(`no copy called ${options.only}; there are: ${Object.keys(kinds).join(', ')}`);
  const report: Record<string, unknown> = { rows, rate: options.rate };
  for (const [name, { rows: itsRows, ...given }] of Object.entries(kinds))
    if (options.only === null || options.only === name)
      report[name] = await watched(server, name, itsRows ?? rows, options, given);
  return report;
}

async function watched(
  { ctx, pool }: BenchServer,
  name: string,
  rows: number,
  { rate, copyOnly, fraction }: Parameters<typeof estimates>[2],
  given: object,
): Promise<BenchReport> {
  await createAccounts(pool, rows, name);
  const table = `public.${name}`;
  const load = new Load({ url: ctx.config.databaseUrl as string, table, rows, sessions: 4, rate });
  const file = accountsFile({
    ...openGate,
    ...given,
    shadow: { fraction },
    name,
    source: table,
    target: `${table}_v2`,
  });
  const worker = await foreshadow(ctx.config, file);
  const seen: Seen[] = [];
  const progress: number[] = [];
  let copied = 0;
  let ready = 0;
  const end = worker.ended.then(() => true);
  for (let over = false; !over; ) {
    over = await Promise.race([end, ctx.clock.sleep(100).then(() => false)]);
    const migration = await findMigration(pool, name);
    const at = performance.now();
    if (!migration || (migration.status !== 'IN_PROGRESS' && !over)) continue;
    if (migration.copied_at && !copied) copied = at;
    if (copied && copyOnly) {
      await worker.kill();
      break;
    }
    if ((over || phaseOf(migration) === 'ready') && !ready) ready = at;
    const share = Number(migration.rows_migrated) / Number(migration.rows_total);
    const left = { copy: migration.eta_s as number | null, all: migration.eta_total_s as number | null };
    if (!copied) seen.push({ at, share, ...left });
    if (!copied && share > (looks[progress.length] ?? 1)) progress.push(await progressError(pool, migration));
  }
  await load.stop();
  return {
    copy_s: round((copied - (seen[0]?.at ?? copied)) / 1000, 1),
    progress_error: progress.length ? round(Math.max(...progress), 3) : null,
    copy: errors(seen, copied, ({ copy }) => copy),
    until_writes: copyOnly ? null : errors(seen, ready, ({ all }) => all),
  };
}

/** Errors as shares of what was left. The last second is left out: estimates are half a second old by then. */
function errors(seen: readonly Seen[], end: number, of: (seen: Seen) => number | null): BenchReport | null {
  const all = seen.flatMap((look) => {
    const [said, was] = [of(look), (end - look.at) / 1000];
    return look.share < 0.1 || said === null || was < 1
      ? []
      : [{ said, was, error: Math.abs(said - was) / was }];
  });
  const first = all[0];
  if (!first) return null;
  return {
    said_s: round(first.said, 1),
    was_s: round(first.was, 1),
    error: round(first.error),
    median_error: round(median(all.map(({ error }) => error))),
    within_fifth: round(all.filter(({ error }) => error <= 0.2).length / all.length),
    worst_error: round(Math.max(...all.map(({ error }) => error))),
    looks: all.length,
  };
}

/** The share that the status tells, against the rows that the copy has passed, counted by their keys in the same snapshot. */
async function progressError(pool: Pool, { id, plan }: Migration): Promise<number> {
  const { rows } = await pool.query<{ error: number }>(
    `select abs((select rows_migrated::float8 / rows_total from foreshadow.migration_status where id = $1)
                - sum(passed)::float8 / (select count(*) from ${plan.names.source})) as error
       from ${plan.names.range} r cross join lateral (
         select count(*) as passed from ${plan.names.source} s
          where s.id > coalesce(r.lo_k1, -9e18::bigint)
            and s.id <= case when r.done then coalesce(r.hi_k1, 9e18::bigint) else coalesce(r.cur_k1, r.lo_k1, -9e18::bigint) end) x`,
    [id],
  );
  return rows[0]?.error ?? Number.NaN;
}
