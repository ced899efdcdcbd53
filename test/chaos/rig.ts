import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import type { MigrationFile } from '../../src/config/migration-file.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { TablePlan } from '../../src/core/plan.ts';
import { transaction } from '../../src/db/tx.ts';
import { beginShadowing } from '../../src/migration/begin.ts';
import { cutOverReads } from '../../src/migration/cutover/reads.ts';
import { type CutoverOptions, cutOverWrites } from '../../src/migration/cutover/writes.ts';
import { finishTarget } from '../../src/migration/finish-target.ts';
import { getMigration, type Migration, moveStatus, updateStatus } from '../../src/migration/status.store.ts';
import { plan as makePlan } from '../../src/pipeline.ts';
import { backlog, copyProgress, countLanes } from '../../src/sync/lane.queries.ts';
import { Lane, type LaneOptions, type LaneWork } from '../../src/sync/lane.ts';
import { Lanes, type LanesOptions } from '../../src/sync/lanes.ts';
import { fullSpeed } from '../../src/sync/pacing.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

export interface RigOptions {
  /** SQL that makes and fills both tables */
  readonly setup: string;
  readonly file?: Parameters<typeof migrationOf>[0];
  /** f(S), written by hand: a query over S that must equal T and the overlay, column by column */
  readonly expected: string;
  readonly lanes?: number;
  readonly chunkRows?: number;
  readonly on?: { readonly url: string };
}

export interface Difference {
  readonly kind: 'missing' | 'extra';
  readonly row: string;
}

/** `left` against `right`, both ways, with every row as text: 1.0 and 1.00, NULL and '' are different. One snapshot. */
export function differenceSql(left: string, right: string): string {
  return `with l as (select x::text as row from (${left}) x), r as (select x::text as row from (${right}) x)
    select 'extra' as kind, e.row from (select row from l except all select row from r) e
    union all select 'missing', m.row from (select row from r except all select row from l) m`;
}

/** A migration whose every step the test takes itself, on the real pieces. */
export class Rig {
  readonly db: MigrationDatabase;
  readonly file: MigrationFile;
  readonly expected: string;
  laneCount: number;
  readonly chunkRows: number;
  migration: Migration;
  lanes: Lane[] = [];

  constructor(db: MigrationDatabase, migration: Migration, file: MigrationFile, options: RigOptions) {
    this.db = db;
    this.migration = migration;
    this.file = file;
    this.expected = options.expected;
    this.laneCount = options.lanes ?? file.copy.lanes;
    this.chunkRows = options.chunkRows ?? 100;
  }

  get plan(): TablePlan {
    return this.migration.plan;
  }

  /** rows of the last statement, in the test's own pool: READ COMMITTED, search_path public */
  async sql<T extends object = Record<string, unknown>>(text: string, values?: unknown[]): Promise<T[]> {
    const result = (await this.db.pool.query(text, values)) as unknown as { rows: T[] } | { rows: T[] }[];
    return Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows;
  }

  /** PLANNED → SHADOWING */
  async begin(): Promise<this> {
    this.migration = await beginShadowing(this.db.ctx.pool, this.migration, {
      lanes: this.laneCount,
      clock: systemClock,
      onWait: () => {},
    });
    this.laneCount = await countLanes(this.db.ctx.pool, this.migration.plan);
    return this;
  }

  laneOptions(lane: number, more: Partial<LaneOptions> = {}): LaneOptions {
    return {
      plan: this.plan,
      lane,
      stamp: this.migration.physical!.stamp,
      chunkRows: this.chunkRows,
      clock: systemClock,
      connect: () => this.db.ctx.connect('lane'),
      pace: () => fullSpeed,
      lanes: this.laneCount,
      onWork: () => {},
      onRetry: () => {},
      ...more,
    };
  }

  /** Lanes that move only when the test ticks them. */
  async claim(): Promise<Lane[]> {
    this.lanes = Array.from({ length: this.laneCount }, (_, i) => new Lane(this.laneOptions(i)));
    for (const lane of this.lanes) await lane.claim();
    return this.lanes;
  }

  /** Every lane once. @throws what a lane throws */
  async tick(): Promise<LaneWork[]> {
    const done: LaneWork[] = [];
    for (const lane of this.lanes) {
      const work = await lane.tick();
      if (typeof work === 'string') throw new Error(`a lane was ${work}`);
      done.push(work);
    }
    return done;
  }

  /** Ticks until the key log is empty, nobody waits for admission, and (in progress) every range is copied. */
  async settle(): Promise<void> {
    for (let i = 0; i < 500; i++) {
      const work = await this.tick();
      const quiet = work.every((each) => each.refreshed.taken + each.copied + each.moved === 0);
      if (quiet && (await backlog(this.db.pool, this.plan)) === 0) return;
    }
    throw new Error('the lanes do not come to rest');
  }

  /** Lanes that run by themselves, as in production. */
  running(more: { rowsPerSecond?: number } = {}): Lanes {
    const pace = { ...fullSpeed, rowsPerSecond: more.rowsPerSecond ?? null };
    return new Lanes({ ...this.lanesOptions(), pace });
  }

  lanesOptions(): LanesOptions {
    return {
      plan: this.plan,
      lanes: this.laneCount,
      stamp: this.migration.physical!.stamp,
      chunkRows: this.chunkRows,
      pace: fullSpeed,
      clock: systemClock,
      log: this.db.ctx.log,
      pool: this.db.ctx.pool,
      connect: () => this.db.ctx.connect('lane'),
    };
  }

  /** SHADOWING → READY → IN_PROGRESS */
  async cutOverReads(): Promise<void> {
    const { pool } = this.db.ctx;
    this.migration = await moveStatus(pool, this.migration, 'SHADOWING', 'READY', {});
    this.migration = await cutOverReads(pool, this.migration);
  }

  async copied(): Promise<boolean> {
    return (await copyProgress(this.db.pool, this.plan)).done;
  }

  /** After the copy: indexes of T, and all that the write cutover asks for. */
  async finish(): Promise<void> {
    const { pool } = this.db.ctx;
    await updateStatus(pool, this.migration.id, { copied_at: new Date() });
    await finishTarget(pool, await this.reload(), { clock: systemClock, onStep: async () => {} });
    await updateStatus(pool, this.migration.id, { phase: 'ready' });
    await this.reload();
  }

  async cutOverWrites(more: Partial<CutoverOptions> = {}): Promise<Migration> {
    const { pool, connect } = this.db.ctx;
    this.migration = await cutOverWrites(await this.reload(), {
      pool,
      connect: () => connect('cutover'),
      clock: systemClock,
      maxAttempts: 200,
      onWait: async () => {},
      ...more,
    });
    return this.migration;
  }

  async reload(): Promise<Migration> {
    this.migration = await getMigration(this.db.pool, this.migration.name);
    return this.migration;
  }

  /** T against f(S). Right only while nobody writes and the lanes have settled. */
  async targetDifferences(): Promise<Difference[]> {
    return this.sql<Difference>(differenceSql(`select * from ${this.plan.names.target}`, this.expected));
  }

  /** The overlay against f(S), in one snapshot of `client`. Right at any time. */
  async overlayDifferences(client?: Client): Promise<Difference[]> {
    const text = differenceSql(`select * from ${this.plan.names.overlay}`, this.expected);
    return client ? (await client.query<Difference>(text)).rows : this.sql<Difference>(text);
  }

  async inTransaction(work: (client: Client) => Promise<void>): Promise<void> {
    await transaction(this.db.pool, (client) => work(client as unknown as Client));
  }

  async close(): Promise<void> {
    for (const lane of this.lanes.splice(0)) await lane.close();
  }
}

/** A database of its own with the migration planned. */
export async function rig(options: RigOptions): Promise<Rig> {
  const db = await migrationDatabase(options.setup, options.on);
  const file = migrationOf(options.file ?? {});
  const migration = await makePlan(db.ctx, file);
  return new Rig(db, migration, file, options);
}

/** All copied and finished, lanes at work: the write cutover may come. Lanes are stopped by `cleanups`. */
export async function atTheSwap(
  options: RigOptions,
  cleanups: (() => Promise<unknown>)[],
): Promise<{ m: Rig; lanes: Lanes }> {
  const m = await (await rig(options)).begin();
  const lanes = m.running();
  await lanes.start();
  cleanups.push(() => lanes.stop());
  await m.cutOverReads();
  while (!(await m.copied())) await sleep(10);
  await m.finish();
  return { m, lanes };
}
