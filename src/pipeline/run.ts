import type { MigrationFile } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { MigrationStatus } from '../core/states.ts';
import type { LeaseHolder } from '../migration/lease.queries.ts';
import { isToBeAborted } from '../migration/states.ts';
import { getMigration, type Migration, updateStatus } from '../migration/status.store.ts';
import { floor } from '../migration/throttle/drive.ts';
import { Throttle } from '../migration/throttle/throttle.ts';
import type { Rival, Selection } from '../shadow/coverage.ts';
import { countLanes } from '../sync/lane.queries.ts';
import { Lanes } from '../sync/lanes.ts';
import { fullSpeed, restAfter } from '../sync/pacing.ts';
import type { Point } from './estimate.ts';
import { isLease, type Lease, Leases } from './leases.ts';
import { Live } from './live.ts';

/** Progress, as it happens. Only the command line and the HTTP service turn it into text. */
export type PipelineEvent =
  | { readonly type: 'status'; readonly status: MigrationStatus; readonly at: number }
  | { readonly type: 'step'; readonly step: string; readonly at: number }
  | { readonly type: 'warning'; readonly message: string; readonly at: number }
  | { readonly type: 'wait'; readonly reason: string; readonly at: number }
  | {
      readonly type: 'progress';
      readonly rows: number;
      readonly total: number;
      readonly rate: number | null;
      readonly eta_s: number | null;
      readonly at: number;
    }
  | {
      readonly type: 'reads-cut-over';
      readonly at: number;
      readonly chosenAt: number;
      readonly budget: number;
      /** the frozen shadow, and what every baseline would hold: same log, budget, admissions and time of choice */
      readonly sets: ReadonlyMap<Rival, Selection>;
    };

export interface RunOptions {
  /** stop when this state is reached */
  readonly until?: MigrationStatus;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: PipelineEvent) => void;
  /** take lanes over from a process that still lives */
  readonly takeOver?: boolean;
  /** free bytes on the server's disk, when it cannot be seen from here */
  readonly diskFree?: number;
  /** stop after this many seconds, at the next safe point */
  readonly seconds?: number;
  /** what this process holds in memory about the migration, kept from an earlier run */
  readonly live?: Live;
  /** the lease on the migration, when the caller has it already */
  readonly lease?: Lease;
  /** after the write cutover, go on keeping the old table in step until the migration is rolled back or finalized */
  readonly stay?: boolean;
  /** hands a task to somebody else instead of doing it here */
  readonly delegate?: (task: Task) => Promise<void>;
}

/** The parts of the work that need no lanes, and so may be done by another process. */
export const tasks = ['mine', 'train', 'resample', 'evaluate', 'verify'] as const;
export type Task = (typeof tasks)[number];

/** Another process that has the migration in hand is waited for this long, in ms: it may be ending. */
const leasePatience = 5000;

/** One stretch of work on a migration by one process. */
export class Run {
  readonly ctx: Context;
  readonly file: MigrationFile;
  readonly options: RunOptions;
  readonly live: Live;
  migration: Migration;
  lanes: Lanes | null = null;
  /** the key log that they empty */
  #lanesOf: string | null = null;
  throttle: Throttle | null = null;
  /** the copy so far, denser at its end */
  copied: Point[] = [];
  /** the comparison in this stretch */
  compared: Point[] = [];
  /** rows a second of the comparison at best, tried on parts of them; null: not known */
  compareSpeed: number | null = null;
  /** since when the database has not answered, seconds since the epoch */
  lostSince: number | null = null;
  readonly #until: number;
  /** what was waited for last; the status row as it was read may be older */
  #waiting = '';
  readonly #due = new Map<string, number>();
  #leases: Leases | null = null;
  #lease: Lease | null = null;

  constructor(ctx: Context, migration: Migration, options: RunOptions) {
    this.ctx = ctx;
    this.migration = migration;
    this.file = migration.definition;
    this.options = options;
    this.live = options.live ?? new Live(ctx);
    this.#until = this.at + (options.seconds ?? Number.POSITIVE_INFINITY);
  }

  /** The time of this stretch is up. */
  get over(): boolean {
    return this.at >= this.#until;
  }

  /** @throws when the run was aborted, or another process has taken the migration over */
  check(): void {
    this.options.signal?.throwIfAborted();
    this.#lease?.signal.throwIfAborted();
    this.lanes?.check();
  }

  /** The same, and when the time of this stretch is up. */
  checkTime(): void {
    this.check();
    if (this.over)
      throw new ForeshadowError('INTERRUPTED', 'the time of this call was up; the next one goes on');
  }

  /** In the middle of a long step: @throws ForeshadowError CONFLICT when somebody has paused or aborted meanwhile */
  async requireAtWork(): Promise<void> {
    this.check();
    const before = this.migration.status;
    const now = await this.refresh();
    const aborting = isToBeAborted(now);
    if (now.status !== before || aborting)
      throw new ForeshadowError(
        'CONFLICT',
        `migration ${now.name} is ${aborting ? 'to be aborted' : now.status}`,
      );
  }

  /** @throws ForeshadowError ALREADY_RUNNING when another process has the migration in hand, unless `takeOver` */
  async hold(): Promise<void> {
    for (let waited = 0; ; waited += 200) {
      const taken = await this.tryHold();
      if (!taken) return;
      if (waited >= leasePatience) {
        throw new ForeshadowError(
          'ALREADY_RUNNING',
          `migration "${this.migration.name}" is being run by ${taken.holder} (pid ${taken.pid} on the server)`,
        );
      }
      await this.ctx.clock.sleep(200, this.options.signal);
    }
  }

  /** Takes the migration in hand if nobody has it. @returns who has, or null: this process */
  async tryHold(): Promise<LeaseHolder | null> {
    this.#lease ??= this.options.lease ?? null;
    if (this.#lease) return null;
    this.#leases ??= new Leases(this.ctx, 'run');
    const taken = await this.#leases.take(this.migration.id, 'migrate', this.options.takeOver);
    if (!isLease(taken)) return taken;
    this.#lease = taken;
    return null;
  }

  emit(event: PipelineEvent): void {
    this.options.onEvent?.(event);
  }

  get at(): number {
    return this.ctx.clock.now();
  }

  /** Reads the status row, the truth, anew; another process may have moved it. */
  async refresh(): Promise<Migration> {
    const before = this.migration.status;
    this.#waiting = '';
    this.migration = await getMigration(this.ctx.pool, this.migration.name);
    if (this.migration.status !== before)
      this.emit({ type: 'status', status: this.migration.status, at: this.at });
    return this.migration;
  }

  moved(migration: Migration): void {
    this.migration = migration;
    this.emit({ type: 'status', status: migration.status, at: this.at });
  }

  /** True at most once in `every` seconds for each name; the first time at once. */
  due(name: string, every: number): boolean {
    if (this.at < (this.#due.get(name) ?? 0)) return false;
    this.#due.set(name, this.at + every);
    return true;
  }

  async wait(reason: string): Promise<void> {
    if (this.migration.wait_reason === reason || this.#waiting === reason) return;
    this.#waiting = reason;
    this.emit({ type: 'wait', reason, at: this.at });
    await updateStatus(this.ctx.pool, this.migration.id, { wait_reason: reason });
  }

  /** Lanes of this process: the only writers of the target. */
  async startLanes(takeOver = this.options.takeOver): Promise<Lanes> {
    const { ctx, migration, file } = this;
    if (!migration.physical) throw new Error(`migration ${migration.name} has not begun`);
    // after the write cutover: those of the way back
    const back = migration.status === 'COMPLETED' ? migration.physical.wayBack : undefined;
    const { plan, stamp } = back ?? { plan: migration.plan, stamp: migration.physical.stamp };
    if (this.lanes && this.#lanesOf !== plan.names.keyLog) await this.stopLanes();
    if (this.lanes) return this.lanes;
    const lanes = new Lanes({
      plan,
      // as many as the migration began with, whatever the file says now: the key ranges are dealt out
      lanes: await countLanes(ctx.pool, plan),
      stamp,
      chunkRows: file.copy.chunkRows,
      pace: fullSpeed,
      clock: ctx.clock,
      log: ctx.log,
      pool: ctx.pool,
      connect: () => ctx.connect('lane'),
    });
    const throttle = new Throttle({
      migration,
      lanes,
      clock: ctx.clock,
      log: ctx.log,
      connect: () => ctx.connect('throttle'),
      onChange: ({ reason }) => void (reason && this.emit({ type: 'wait', reason, at: this.at })),
    });
    try {
      await lanes.start(takeOver);
    } catch (error) {
      await lanes.stop();
      throw error;
    }
    throttle.start();
    this.lanes = lanes;
    this.#lanesOf = plan.names.keyLog;
    this.throttle = throttle;
    return lanes;
  }

  /** Work beside the lanes, as the throttle sees it, and then a rest as they take it, at the pace of the moment. */
  async breathing<T>(work: () => Promise<T>): Promise<T> {
    const { clock } = this.ctx;
    const began = clock.now();
    const result = await (this.throttle?.during(work) ?? work());
    const done = clock.now();
    const left = () => {
      const { share, chunkMs } = this.lanes?.pace ?? fullSpeed;
      const pace = { share: Math.max(floor, share), chunkMs, rowsPerSecond: null };
      return restAfter(pace, 1, 0, (done - began) * 1000) - (clock.now() - done) * 1000;
    };
    for (let rest = left(); rest > 1 && !this.over; rest = left())
      await clock.sleep(Math.min(500, rest), this.options.signal);
    return result;
  }

  async stopLanes(): Promise<void> {
    await Promise.all([this.throttle?.stop(), this.lanes?.stop()]);
    this.throttle = null;
    this.lanes = null;
  }

  async close(): Promise<void> {
    await this.stopLanes();
    await this.#leases?.close();
    this.#leases = null;
    if (!this.options.live) this.live.dispose();
  }
}
