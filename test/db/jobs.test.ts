import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { JobQueue, queueSchema } from '../../src/jobs/queue.ts';
import { reconcile } from '../../src/jobs/reconcile.ts';
import { JobWorker } from '../../src/jobs/worker.ts';
import { uninstall } from '../../src/migration/abort.ts';
import { eventsAfter } from '../../src/migration/events.queries.ts';
import { giveOrder, pauseMigration, resumeMigration } from '../../src/migration/orders.ts';
import { getMigration, recordEvent } from '../../src/migration/status.store.ts';
import { describeMigration } from '../../src/migration/status.ts';
import { startMigration } from '../../src/pipeline.ts';
import { differenceSql } from '../chaos/rig.ts';
import { catalogueOf } from '../support/catalogue.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

const setup = (rows = 5000) => `
  create table s (id int primary key, v int not null, w text);
  insert into s select g, g, 'w' || g from generate_series(1, ${rows}) g;
  create table t (id bigint primary key, v numeric(12, 2) not null, w text);`;
const file = { map: { id: 'id::bigint', v: 'v::numeric(12, 2)' } };
const expected = 'select id::bigint as id, v::numeric(12, 2) as v, w from foreshadow.s_old';

async function worker(db: MigrationDatabase): Promise<JobWorker> {
  const started = await JobWorker.start(db.ctx);
  cleanups.push(() => started.stop(5000));
  return started;
}

async function until(db: MigrationDatabase, status: string, seconds = 30, phase?: string): Promise<void> {
  for (const end = performance.now() + seconds * 1000; ; await sleep(30)) {
    const now = await describeMigration(db.ctx.pool, 'm');
    if (now.status === status && (phase === undefined || now.phase === phase)) return;
    if (now.status === 'FAILED' || performance.now() > end)
      throw new Error(
        `the migration is ${now.status}, not ${status}: ${JSON.stringify(now.error ?? now.gate)} ${now.wait_reason}`,
      );
  }
}

async function expectMoved(db: MigrationDatabase): Promise<void> {
  expect((await db.pool.query(differenceSql('select id, v, w from s', expected))).rows).toEqual([]);
}

test('a whole migration from the job runner', async () => {
  const db = await migrationDatabase(setup());
  await startMigration(db.ctx, migrationOf(file));
  await worker(db);
  await until(db, 'COMPLETED');
  await expectMoved(db);
  for (const end = performance.now() + 10_000; performance.now() < end; await sleep(50)) {
    const { rows } = await db.pool.query('select settled_at from foreshadow.migration_status');
    if (rows[0].settled_at) break;
  }
  expect(await reconcile(db.ctx.pool, await queueOf(db))).toEqual([]);
});

async function queueOf(db: MigrationDatabase): Promise<JobQueue> {
  const queue = await JobQueue.open(db.ctx.pool, db.ctx.log);
  cleanups.push(() => queue.close());
  return queue;
}

test('the queue emptied by hand while nobody works: the reconciler rebuilds it, and the migration completes', async () => {
  const db = await migrationDatabase(setup(20_000));
  await startMigration(db.ctx, migrationOf({ ...file, copy: { rowsPerSecond: 10_000, chunkRows: 200 } }));
  const first = await JobWorker.start(db.ctx);
  await until(db, 'IN_PROGRESS');
  await db.pool.query(`truncate ${queueSchema}.job, ${queueSchema}.archive`);
  await first.stop(5000);
  // queues and all, as somebody may do who knows no better
  await db.pool.query(`delete from ${queueSchema}.job; delete from ${queueSchema}.queue`);
  const queue = await queueOf(db);
  expect(await reconcile(db.ctx.pool, queue)).toEqual([{ kind: 'migrate', migration: 'm' }]);
  expect(await reconcile(db.ctx.pool, queue), 'it waits already').toEqual([]);
  await db.pool.query(`truncate ${queueSchema}.job`);
  await worker(db);
  await until(db, 'COMPLETED', 60);
  await expectMoved(db);
});

test('emptied while the work is under way', async () => {
  const db = await migrationDatabase(setup(10_000));
  await startMigration(db.ctx, migrationOf({ ...file, copy: { rowsPerSecond: 6000, chunkRows: 200 } }));
  await worker(db);
  for (const state of ['SHADOWING', 'IN_PROGRESS']) {
    await until(db, state);
    await db.pool.query(`truncate ${queueSchema}.job, ${queueSchema}.archive`);
  }
  await until(db, 'COMPLETED', 60);
  await expectMoved(db);
});

/** Events are told when no older transaction runs on the server, and this server has others to serve. */
async function everyEvent(db: MigrationDatabase, id: number): ReturnType<typeof eventsAfter> {
  return vi.waitFor(async () => {
    const told = await eventsAfter(db.ctx.pool, id, null, 1000);
    const { rows } = await db.pool.query<{ n: number }>(
      'select count(*)::int as n from foreshadow.migration_event where migration_id = $1',
      [id],
    );
    expect(told.length).toBe(rows[0]?.n);
    return told;
  }, 20_000);
}

test('pause, resume, orders of the operator, and the events that tell of them', async () => {
  const db = await migrationDatabase(setup(3000));
  await startMigration(db.ctx, migrationOf({ ...file, cutover: { reads: 'operator', writes: 'operator' } }));
  await worker(db);
  await until(db, 'READY');
  const { pool } = db.ctx;
  await expect(giveOrder(pool, 'm', 'cutover-writes', 'test')).rejects.toMatchObject({ code: 'GATE_SHUT' });
  await pauseMigration(pool, 'm', 'test');
  await until(db, 'PAUSED');
  await db.pool.query('update s set v = v + 1 where id < 500');
  await sleep(300);
  expect((await describeMigration(pool, 'm')).status).toBe('PAUSED');
  await resumeMigration(pool, 'm');
  await until(db, 'READY');
  await giveOrder(pool, 'm', 'cutover-reads', 'test');
  await until(db, 'IN_PROGRESS', 30, 'ready');
  await expect(giveOrder(pool, 'm', 'cutover-reads', 'test')).rejects.toMatchObject({ code: 'GATE_SHUT' });
  await giveOrder(pool, 'm', 'cutover-writes', 'test');
  await until(db, 'COMPLETED');
  await expectMoved(db);

  const { id } = await getMigration(pool, 'm');
  const all = await everyEvent(db, id);
  const moves = all.filter(({ kind }) => kind === 'status').map(({ to_status }) => to_status);
  expect(moves.slice(0, 2)).toEqual(['SHADOWING', 'READY']);
  expect(moves.slice(-3)).toEqual(['READY', 'IN_PROGRESS', 'COMPLETED']);
  expect(moves).toContain('PAUSED');
  const orders = all.filter(({ kind }) => kind === 'order').map(({ detail }) => detail.order);
  expect(orders).toEqual(['cutover-reads', 'cutover-writes']);
  // page by page from any cursor: nothing twice, nothing left out
  const paged = [];
  for (let cursor: string | null = null; ; ) {
    const page: Awaited<ReturnType<typeof eventsAfter>> = await eventsAfter(pool, id, cursor, 3);
    if (!page.length) break;
    paged.push(...page);
    cursor = page.at(-1)?.cursor ?? null;
  }
  expect(paged).toEqual(all);
  await expect(eventsAfter(pool, id, "1' or 1=1", 1)).rejects.toMatchObject({ code: 'USAGE' });
});

test('an event that commits late is told after those that were told before it', async () => {
  const db = await migrationDatabase(setup(10));
  const { id } = await startMigration(db.ctx, migrationOf(file));
  const slow = await db.client();
  await slow.query('begin');
  await slow.query("insert into foreshadow.migration_event (migration_id, kind) values ($1, 'slow')", [id]);
  await recordEvent(db.ctx.pool, id, 'quick', {});
  const before = await eventsAfter(db.ctx.pool, id, null, 10);
  await slow.query('commit');
  await everyEvent(db, id);
  const after = await eventsAfter(db.ctx.pool, id, before.at(-1)?.cursor ?? null, 10);
  expect([...before, ...after].map(({ kind }) => kind)).toEqual(['slow', 'quick']);
});

test('abort, ordered: done by the job runner, also of a paused migration', async () => {
  const db = await migrationDatabase(setup(2000));
  await queueOf(db);
  const catalogue = await catalogueOf(db.pool);
  await startMigration(db.ctx, migrationOf({ ...file, cutover: { reads: 'operator', writes: 'operator' } }));
  const at = await worker(db);
  await until(db, 'READY');
  await pauseMigration(db.ctx.pool, 'm', 'test');
  await giveOrder(db.ctx.pool, 'm', 'abort', 'test');
  await until(db, 'ABORTED');
  await at.stop(5000);
  expect(await catalogueOf(db.pool)).toEqual(catalogue);
  await expect(giveOrder(db.ctx.pool, 'm', 'abort', 'test')).rejects.toMatchObject({ code: 'CONFLICT' });
});

test('uninstall takes the queue along', async () => {
  const db = await migrationDatabase();
  await (await worker(db)).stop(1000);
  const options = { clock: db.ctx.clock, grace: 0, dropOldTables: false };
  const { dropped } = await uninstall(db.ctx.pool, options);
  expect(dropped).toEqual(['schema foreshadow', `schema ${queueSchema}`]);
  expect((await db.pool.query("select 1 from pg_namespace where nspname like 'foreshadow%'")).rowCount).toBe(
    0,
  );
});

test('a migration that fails says so, and no job is sent for it any more', async () => {
  const db = await migrationDatabase(setup(2000));
  await db.pool.query('update s set w = null where id = 7; alter table t alter w set not null');
  await startMigration(
    db.ctx,
    migrationOf({ ...file, map: { ...file.map, w: "coalesce(w, case v when 8 then null else '-' end)" } }),
  );
  await worker(db);
  await until(db, 'SHADOWING');
  await db.pool.query('update s set v = 8, w = null where id = 9');
  for (const end = performance.now() + 20_000; performance.now() < end; await sleep(50)) {
    if ((await describeMigration(db.ctx.pool, 'm')).status === 'FAILED') break;
  }
  expect(await describeMigration(db.ctx.pool, 'm')).toMatchObject({
    status: 'FAILED',
    error: { code: 'MAP_FAILS' },
  });
  await sleep(200);
  expect(await reconcile(db.ctx.pool, await queueOf(db))).toEqual([]);
});

test('a query log that cannot be read: it is said once, and the job is tried again', async () => {
  const db = await migrationDatabase(setup(2000));
  const log = join(await mkdtemp(join(tmpdir(), 'foreshadow-test-log-')), 'log.json');
  await writeFile(log, '');
  await startMigration(db.ctx, migrationOf({ ...file, queryLog: { path: log } }));
  await rm(log);
  await worker(db);
  for (const end = performance.now() + 20_000; performance.now() < end; await sleep(50)) {
    if ((await queueState(db, 'mine')).filter((state) => state === 'failed').length > 1) break;
  }
  const { rows } = await db.pool.query(
    "select detail from foreshadow.migration_event where kind = 'warning'",
  );
  expect(rows).toMatchObject([{ detail: { message: expect.stringContaining(log) } }]);
  await writeFile(log, '');
  await until(db, 'COMPLETED', 60);
});

async function queueState(db: MigrationDatabase, kind: string): Promise<string[]> {
  const { rows } = await db.pool.query<{ state: string }>(
    `select state::text from ${queueSchema}.job where name = $1`,
    [kind],
  );
  return rows.map(({ state }) => state);
}

test('a verification that comes out red shuts the way to the write cutover, whatever was ordered', async () => {
  const db = await migrationDatabase(setup(2000));
  await startMigration(db.ctx, migrationOf({ ...file, cutover: { writes: 'operator' } }));
  const { pool } = db.ctx;
  await worker(db);
  const queue = await queueOf(db);
  await until(db, 'IN_PROGRESS', 30, 'ready');
  await db.pool.query('insert into foreshadow.t values (999999, 1, null)');
  await queue.send('verify', 'm', { force: true });
  for (const end = performance.now() + 20_000; performance.now() < end; await sleep(50)) {
    if ((await describeMigration(pool, 'm')).status === 'FAILED') break;
  }
  expect(await describeMigration(pool, 'm')).toMatchObject({
    status: 'FAILED',
    phase: 'verify',
    error: { code: 'VERIFICATION_FAILED' },
  });
  await resumeMigration(pool, 'm');
  await expect(giveOrder(pool, 'm', 'cutover-writes', 'test')).rejects.toMatchObject({ code: 'GATE_SHUT' });
  await until(db, 'FAILED');
  await db.pool.query('delete from foreshadow.t where id = 999999');
  await resumeMigration(pool, 'm');
  await until(db, 'IN_PROGRESS', 30, 'ready');
  await giveOrder(pool, 'm', 'cutover-writes', 'test');
  await until(db, 'COMPLETED');
  await expectMoved(db);
});

test('a pause reaches a write cutover that cannot get through, and forgets what was ordered', async () => {
  const db = await migrationDatabase(setup(2000));
  await startMigration(db.ctx, migrationOf({ ...file, cutover: { writes: 'operator' } }));
  const { pool } = db.ctx;
  await worker(db);
  await until(db, 'IN_PROGRESS', 30, 'ready');
  const holder = await db.client();
  await holder.query('begin; update s set v = v + 1 where id = 1');
  await sleep(1100);
  await giveOrder(pool, 'm', 'cutover-writes', 'test');
  for (const end = performance.now() + 20_000; performance.now() < end; await sleep(20)) {
    if (/write cutover, attempt/.test((await describeMigration(pool, 'm')).wait_reason ?? '')) break;
  }
  await pauseMigration(pool, 'm', 'test');
  const { id } = await getMigration(pool, 'm');
  for (const end = performance.now() + 15_000; performance.now() < end; await sleep(50)) {
    const { rows } = await db.pool.query('select 1 from foreshadow.lease where migration_id = $1', [id]);
    if (!rows.length) break;
  }
  expect((await db.pool.query('select 1 from foreshadow.lease')).rows).toEqual([]);
  expect((await describeMigration(pool, 'm')).wait_reason).toMatch(/paused by test/);
  await holder.query('commit');
  await resumeMigration(pool, 'm');
  await until(db, 'IN_PROGRESS', 30, 'ready');
  await sleep(500);
  expect((await describeMigration(pool, 'm')).status).toBe('IN_PROGRESS');
});

test('an order for a migration that nobody would carry it out for is refused', async () => {
  const db = await migrationDatabase(setup(2000));
  const own = migrationOf({ ...file, cutover: { reads: 'operator' } });
  await db.run(own, { until: 'READY' });
  await expect(giveOrder(db.ctx.pool, 'm', 'cutover-reads', 'test')).rejects.toMatchObject({
    code: 'CONFLICT',
  });
});

test('change times without a log are taken once, without a job after a job', async () => {
  const db = await migrationDatabase(setup(2000));
  await db.pool.query(
    'alter table s add column changed timestamptz default now(); alter table t add column changed timestamptz',
  );
  const own = { ...file, signals: { updatedAt: 'changed' }, cutover: { reads: 'operator' } } as const;
  await startMigration(db.ctx, migrationOf(own));
  await worker(db);
  await until(db, 'READY');
  await sleep(1500);
  expect((await queueState(db, 'mine')).length).toBeLessThan(4);
  const { rows } = await db.pool.query('select source, accesses from foreshadow.access_batch');
  expect(rows).toEqual([{ source: 'signals', accesses: 2000 }]);
});
