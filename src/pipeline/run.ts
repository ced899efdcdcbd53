import type { SourceStatistics } from '../confidence/source-statistics.ts';
import type { MigrationFile } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import type { KeyId } from '../core/key.ts';
import type { MigrationStatus } from '../core/states.ts';
import { getMigration, type Migration, updateStatus } from '../migration/status.store.ts';
import type { Predictor } from '../model/index.ts';
import type { Coverage, Rival, Selection } from '../shadow/coverage.ts';
import { countLanes } from '../sync/lane.queries.ts';
import { Lanes } from '../sync/lanes.ts';
import type { Choice } from './choice.ts';
import type { Observation } from './observation.ts';

/** Progress, as it happens. Only the command line and the HTTP service turn it into text. */
export type PipelineEvent =
  | { readonly type: 'status'; readonly status: MigrationStatus; readonly at: number }
  | { readonly type: 'step'; readonly step: string; readonly at: number }
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
}

/** What one process holds in memory while it works on a migration. All of it can be rebuilt from the status tables. */
export class Run {
  readonly ctx: Context;
  readonly file: MigrationFile;
  readonly options: RunOptions;
  migration: Migration;
  lanes: Lanes | null = null;
  observation: Observation | null = null;
  predictor: Predictor | null = null;
  choice: Choice | null = null;
  coverage: Coverage | null = null;
  source: SourceStatistics | null = null;
  copied: { at: number; rows: number }[] = [];
  /** since when the database has not answered, seconds since the epoch */
  lostSince: number | null = null;
  #admittedUntil = 0;
  readonly #due = new Map<string, number>();

  constructor(ctx: Context, migration: Migration, options: RunOptions) {
    this.ctx = ctx;
    this.migration = migration;
    this.file = migration.definition;
    this.options = options;
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
    if (this.migration.wait_reason === reason) return;
    this.emit({ type: 'wait', reason, at: this.at });
    await updateStatus(this.ctx.pool, this.migration.id, { wait_reason: reason });
  }

  /** Lanes of this process: the only writers of the target. */
  async startLanes(): Promise<Lanes> {
    if (this.lanes) return this.lanes;
    const { ctx, migration, file } = this;
    if (!migration.physical) throw new Error(`migration ${migration.name} has not begun`);
    const lanes = new Lanes({
      plan: migration.plan,
      // as many as the migration began with, whatever the file says now: the key ranges are dealt out
      lanes: await countLanes(ctx.pool, migration.id),
      stamp: migration.physical.stamp,
      chunkRows: file.copy.chunkRows,
      rowsPerSecond: file.copy.rowsPerSecond,
      clock: ctx.clock,
      log: ctx.log,
      pool: ctx.pool,
      connect: () => ctx.connect('lane'),
    });
    try {
      await lanes.start(this.options.takeOver);
    } catch (error) {
      await lanes.stop();
      throw error;
    }
    this.lanes = lanes;
    return lanes;
  }

  /** Follows the application: new accesses go to the features and to the measurement of coverage. */
  async observe(): Promise<void> {
    const { observation, coverage } = this;
    if (!observation) return;
    const accesses = await observation.poll();
    if (!coverage) return;
    let latest = this.#admittedUntil;
    for (const [key, at] of observation.inserted) {
      if (at > this.#admittedUntil && this.migration.status !== 'IN_PROGRESS') coverage.admit(key);
      latest = Math.max(latest, at);
    }
    this.#admittedUntil = latest;
    coverage.observe(accesses);
  }

  /** Rows inserted since the last choice, which every rival admits. */
  admittedSince(at: number): Set<KeyId> {
    const keys = new Set<KeyId>();
    for (const [key, inserted] of this.observation?.inserted ?? []) if (inserted >= at) keys.add(key);
    return keys;
  }

  async close(): Promise<void> {
    await this.lanes?.stop();
    this.lanes = null;
    this.predictor?.dispose();
    this.predictor = null;
  }
}
