import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { logLag } from '../../src/access/store.queries.ts';
import type { Context } from '../../src/context.ts';
import { getMigration, updateStatus } from '../../src/migration/status.store.ts';
import { describeMigration } from '../../src/migration/status.ts';
import { Live } from '../../src/pipeline/live.ts';
import { Mining } from '../../src/pipeline/mining.ts';
import { performTask, startMigration } from '../../src/pipeline.ts';
import { afterFile } from '../support/database.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';

const setup = `
  create table s (id int primary key, v int);
  create table t (id bigint primary key, v int);
  insert into s select g, g from generate_series(1, 200) g;`;

async function emptyLog(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-gate-'));
  afterFile(() => rm(folder, { recursive: true }));
  const path = join(folder, 'postgres.json');
  await writeFile(path, '');
  return path;
}

test('a log that nobody has mined for a while, and a model that nobody has trained, hold the gate; by name', async () => {
  const db = await migrationDatabase(setup);
  const path = await emptyLog();
  await db.run(
    migrationOf({ queryLog: { path }, predict: { horizon: '5m' }, cutover: { reads: 'operator' } }),
    { until: 'READY' },
  );
  const { ctx } = db;
  const { id } = await getMigration(ctx.pool, 'm');
  const live = new Live(ctx);
  const evaluate = async () => {
    const migration = await getMigration(ctx.pool, 'm');
    await performTask(ctx, migration, 'evaluate', { live, force: true, seconds: 60 });
    const { status, gate } = await describeMigration(ctx.pool, 'm');
    return { status, ...gate };
  };
  expect(await evaluate()).toEqual({ status: 'READY', open: true, reasons: [] });

  await db.pool.query(
    "update foreshadow.access_store set caught_up_at = clock_timestamp() - interval '100 s' where migration_id = $1",
    [id],
  );
  const model = { predictor: 'ewma', version: '0001', trained_at: '2026-01-01T00:00:00.000Z' };
  await updateStatus(ctx.pool, id, { model });
  expect(await evaluate()).toEqual({
    status: 'SHADOWING',
    open: false,
    reasons: [
      expect.stringMatching(/^the model is \d+\.\d h old, and at most 80\.0 min are allowed/),
      expect.stringMatching(
        /^the end of the query log was last reached 10\d s ago, and prediction may lag by at most 30 s/,
      ),
    ],
  });

  await updateStatus(ctx.pool, id, {
    model: { ...model, trained_at: new Date(ctx.clock.now() * 1000).toISOString() },
  });
  await performTask(ctx, await getMigration(ctx.pool, 'm'), 'mine', { live, seconds: 60 });
  await expect(evaluate()).resolves.toMatchObject({ open: true, reasons: [] });
  live.dispose();
});

test('a log that stands still is not behind, as long as somebody looks', async () => {
  const db = await migrationDatabase(setup);
  const path = await emptyLog();
  const migration = await startMigration(db.ctx, migrationOf({ queryLog: { path } }));
  let now = db.ctx.clock.now();
  const ctx: Context = { ...db.ctx, clock: { ...db.ctx.clock, now: () => now } };
  const mining = await Mining.open(ctx, migration);
  const lag = () => logLag(db.ctx.pool, migration.id);
  const backdate = (by: string) =>
    db.pool.query('update foreshadow.access_store set caught_up_at = caught_up_at - $1::interval', [by]);
  expect(await lag()).toBeNull();
  await mining.step();
  expect(await lag()).toBeLessThan(5);
  await backdate('1 h');
  await mining.step(); // a moment later: not written each time
  expect(await lag()).toBeGreaterThan(3000);
  now += 6;
  await mining.step();
  expect(await lag()).toBeLessThan(5);
  // who has been overtaken by another miner knows nothing of the end
  const other = await Mining.open(ctx, migration);
  await appendFile(path, '{"timestamp": "2026-05-01 12:00:00.000 UTC"}\n');
  now += 6;
  await other.step();
  await backdate('1 h');
  await db.pool.query('update foreshadow.access_store set behind_bytes = 1000');
  now += 6;
  await other.step();
  expect(await lag()).toBeGreaterThan(3000);
});
