import {
  type ChangeColumns,
  changeColumns,
  changeTimes,
  commitTimes,
  settledUntil,
  type Window,
} from '../access/change-times.queries.ts';
import { appendSignals, signalPlace } from '../access/store.queries.ts';
import { seconds } from '../config/duration.ts';
import type { MigrationFile } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import type { Access } from '../core/access.ts';
import { type Migration, recordOnce } from '../migration/status.store.ts';
import { hashedKeysOf } from './hashed-keys.ts';

/** The longest half-life of the change counters; older changes count for nothing. */
const horizonsBack = 128;
const mostAtOnce = 50_000;
/** Seconds between two looks for new changes. */
const lookEvery = 5;
/** A table of up to so many pages (64 MB) is read whole where no index helps: that takes a second. */
const smallPages = 8192;
/** One pass for commit timestamps reads up to so many pages (4 GB), a piece at a time. */
const mostPages = 524_288;
const pagesAtOnce = 2048;

/**
 * What the rows say of themselves (`signals`): when they were made, changed or committed. It fills the time before the
 * query log begins; without one, the time until capture sees every change, going on from where it stopped.
 */
export class ChangeSignals {
  readonly #ctx: Context;
  readonly #migration: Migration;
  #done: boolean;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(ctx: Context, migration: Migration) {
    this.#ctx = ctx;
    this.#migration = migration;
    this.#done =
      columnsOf(migration.definition).length === 0 && !migration.definition.signals.commitTimestamps;
  }

  /** One piece, if it is due. @returns how many changes it took in */
  async take(): Promise<number> {
    const { pool, clock } = this.#ctx;
    const { definition, plan, id } = this.#migration;
    const now = clock.now();
    if (this.#done || now - this.#lookedAt < lookEvery) return 0;
    this.#lookedAt = now;
    const logged = definition.queryLog !== undefined;
    const { last, firstLogged, shadowing } = await signalPlace(pool, id);
    if (last !== null && logged) {
      this.#done = true; // taken by an earlier process
      return 0;
    }
    const until = logged ? (firstLogged ?? now) : Math.min(shadowing ?? now, await settledUntil(pool));
    const back = until - horizonsBack * seconds(definition.predict.horizon);
    const window = { after: last ?? back, until };
    const ways = await changeColumns(pool, plan.sourceOid);
    const { columns, commits, problems } = usable(definition, ways);
    for (const problem of problems) await recordOnce(pool, id, 'warning', problem);
    const found: Access[] = [];
    const from = last === null ? 'latest' : 'earliest';
    for (const column of columns)
      for (const change of await changeTimes(pool, plan, column, window, mostAtOnce, from))
        found.push(change);
    if (commits && last === null) found.push(...(await this.#committed(ways.pages, window)));
    found.sort((a, b) => a.at - b.at);
    // only what lies before the end of every full list is whole, and the next look begins there
    const kept = last !== null && found.length >= mostAtOnce ? found.slice(0, mostAtOnce) : found;
    const hashed = hashedKeysOf(this.#ctx, this.#migration)?.hashed(kept);
    if (!(await appendSignals(pool, id, last, hashed ?? kept))) return 0;
    this.#done = logged || columns.length === 0 || (shadowing !== null && kept.length < mostAtOnce);
    return kept.length;
  }

  /** The latest changes by commit timestamps, the table read once, piece by piece. */
  async #committed(pages: number, window: Window): Promise<Access[]> {
    let found: Access[] = [];
    for (let first = 0; first < pages; first += pagesAtOnce) {
      const end = first + pagesAtOnce;
      found.push(...(await commitTimes(this.#ctx.pool, this.#migration.plan, { first, end }, window)));
      if (found.length > 2 * mostAtOnce) found = latest(found);
    }
    return latest(found);
  }
}

const latest = (accesses: Access[]) => accesses.sort((a, b) => b.at - a.at).slice(0, mostAtOnce);

function columnsOf({ signals }: Pick<MigrationFile, 'signals'>): string[] {
  return [signals.createdAt, signals.updatedAt].filter((name) => name !== undefined);
}

/** What can be had without hurting the server, and in a sentence each, what cannot. */
export function usable(
  definition: Pick<MigrationFile, 'signals' | 'source'>,
  ways: ChangeColumns,
): { columns: string[]; commits: boolean; problems: string[] } {
  const problems: string[] = [];
  const columns = columnsOf(definition).filter((column) => {
    if (ways.indexed.has(column) || ways.pages <= smallPages) return true;
    problems.push(
      `the change times in ${column} are not used: no index begins with it, and ${definition.source} is too large to be ` +
        `scanned for them (create index concurrently on ${definition.source} ("${column}"))`,
    );
    return false;
  });
  const wanted = definition.signals.commitTimestamps === true && columns.length === 0;
  if (wanted && !ways.commitTimestamps)
    problems.push(
      'commit timestamps are not used: track_commit_timestamp is off (needs a restart; counts from then on)',
    );
  else if (wanted && ways.pages > mostPages)
    problems.push(`commit timestamps are not used: ${definition.source} is too large for a pass over it`);
  return { columns, commits: wanted && ways.commitTimestamps && ways.pages <= mostPages, problems };
}
