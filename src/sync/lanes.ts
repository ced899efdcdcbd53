import type { Client, Pool } from 'pg';
import type { Logger } from 'pino';
import type { Clock } from '../core/clock.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { TablePlan } from '../core/plan.ts';
import { type LaneStamp, liveHolders } from './lane.queries.ts';
import { Lane, type LaneWork } from './lane.ts';
import type { Pace } from './pacing.ts';
import { vacuumKeyLogSql } from './tables.ts';

/** Consumed log rows after which the key log is vacuumed: a key with 50,000 dead log rows makes its lookups 13 ms. */
const vacuumEvery = 15_000;
const keptLags = 4096;
/** A lag older than this many seconds says nothing of now: after a restart, changes that waited for it are all late. */
const lagsCountFor = 15;

export interface LanesOptions {
  readonly plan: TablePlan;
  readonly lanes: number;
  readonly stamp: LaneStamp;
  readonly chunkRows: number;
  /** how hard to copy from the start; {@link Lanes.keep} changes it */
  readonly pace: Pace;
  readonly clock: Clock;
  readonly log: Logger;
  readonly pool: Pool;
  readonly connect: () => Promise<Client>;
}

/** What the lanes of this process have done since it started. */
export interface LaneTotals {
  taken: number;
  refreshed: number;
  admitted: number;
  copied: number;
  moved: number;
  retries: number;
}

/** All lanes of one migration, in this process. */
export class Lanes {
  readonly totals: LaneTotals = { taken: 0, refreshed: 0, admitted: 0, copied: 0, moved: 0, retries: 0 };
  readonly #options: LanesOptions;
  readonly #lanes: Lane[];
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #failure: unknown = null;
  #endings: string[] = [];
  #lags: { readonly at: number; readonly lag: number }[] = [];
  #takenAtVacuum = 0;
  #pace: Pace;
  /** the pace that each lane kept to in its last transaction */
  readonly #kept = new Map<number, Pace>();
  #vacuuming: Promise<void> | null = null;

  constructor(options: LanesOptions) {
    this.#options = options;
    this.#pace = options.pace;
    this.#lanes = Array.from(
      { length: options.lanes },
      (_, lane) =>
        new Lane({
          plan: options.plan,
          lane,
          stamp: options.stamp,
          chunkRows: options.chunkRows,
          clock: options.clock,
          connect: options.connect,
          lanes: options.lanes,
          pace: () => this.#pace,
          onWork: (work) => this.#count(work),
          onRetry: (error, of) => {
            this.totals.retries += 1;
            options.log.debug({ err: error, lane: of }, 'lane tries again');
          },
        }),
    );
  }

  /**
   * Takes all lanes over and sets them to work.
   * @throws ForeshadowError ALREADY_RUNNING when another live process holds them, unless `force`
   */
  async start(force = false): Promise<void> {
    const { pool, plan, clock } = this.#options;
    // The backend of a killed process needs a moment to notice; a living process keeps its lanes.
    for (let waited = 0; !force; waited += 100) {
      const holders = await liveHolders(pool, plan);
      if (!holders.length) break;
      if (waited >= 5000) {
        const who = holders.map(
          (holder) => `pid ${holder.pid} (${holder.application}) since ${holder.since.toISOString()}`,
        );
        throw new ForeshadowError(
          'ALREADY_RUNNING',
          `migration "${plan.name}" is being run by ${who.join(', ')}`,
        );
      }
      await clock.sleep(100);
    }
    for (const lane of this.#lanes) await lane.claim();
    this.#running = Promise.all(
      this.#lanes.map((lane) =>
        lane.run(this.#stop.signal).then(
          (ending) => void this.#endings.push(ending),
          (error: unknown) => {
            this.#failure ??= error;
            this.#stop.abort(); // what stops one lane must be looked at before the others go on
          },
        ),
      ),
    ).then(() => undefined);
  }

  /** @throws what stopped a lane, or ALREADY_RUNNING when another process took one over */
  check(): void {
    if (this.#failure) throw this.#failure;
    if (this.#endings.includes('taken over')) {
      throw new ForeshadowError(
        'ALREADY_RUNNING',
        `another process has taken over migration "${this.#options.plan.name}"`,
      );
    }
  }

  get pace(): Pace {
    return this.#pace;
  }

  /** Lanes keep to this from their next transaction on. */
  keep(pace: Pace): void {
    this.#pace = pace;
  }

  /** Every lane has done a transaction that began with the pace of now: nothing faster is under way any more. */
  get paceKept(): boolean {
    return this.#lanes.every((_, lane) => this.#kept.get(lane) === this.#pace);
  }

  /** Seconds from change to refresh, of the rows refreshed lately. */
  get lags(): readonly number[] {
    const since = this.#options.clock.now() - lagsCountFor;
    return this.#lags.filter((each) => each.at >= since).map((each) => each.lag);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#vacuuming;
    await Promise.all(this.#lanes.map((lane) => lane.close()));
  }

  #count({ lane, pace, refreshed, copied, moved }: LaneWork): void {
    this.#kept.set(lane, pace);
    this.totals.taken += refreshed.taken;
    this.totals.refreshed += refreshed.refreshed;
    this.totals.admitted += refreshed.admitted;
    this.totals.copied += copied;
    this.totals.moved += moved;
    const at = this.#options.clock.now();
    for (const lag of refreshed.lags) this.#lags.push({ at, lag });
    if (this.#lags.length > 2 * keptLags) this.#lags = this.#lags.slice(-keptLags);
    if (this.totals.taken - this.#takenAtVacuum >= vacuumEvery && !this.#vacuuming) {
      this.#takenAtVacuum = this.totals.taken;
      this.#vacuuming = this.#vacuum().finally(() => {
        this.#vacuuming = null;
      });
    }
  }

  async #vacuum(): Promise<void> {
    const { pool, plan, log } = this.#options;
    await pool
      .query(vacuumKeyLogSql(plan))
      .catch((error) => log.debug({ err: error }, 'vacuum of the key log put off'));
  }
}
