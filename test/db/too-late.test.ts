import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { uninstall } from '../../src/migration/abort.ts';
import { cutOverWrites } from '../../src/migration/cutover/writes.ts';
import { resizeShadow } from '../../src/migration/shadow-size.store.ts';
import { getMigration, updateEvaluation } from '../../src/migration/status.store.ts';
import { rollBackMigration } from '../../src/pipeline.ts';
import { failureOf, type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

/** What comes too late to count, or counts for something that has changed meanwhile. */
const setup = `
  create table s (id int primary key, v int not null);
  insert into s select g, g from generate_series(1, 300) g;
  create table t (id bigint primary key, v int not null);`;
const file = migrationOf({ map: { id: 'id::bigint' } });
const byOperator = { ...file, cutover: { ...file.cutover, writes: 'operator' as const } };

const cutOver = async ({ ctx }: MigrationDatabase) =>
  cutOverWrites(await getMigration(ctx.pool, 'm'), {
    pool: ctx.pool,
    clock: ctx.clock,
    connect: () => ctx.connect('cutover'),
    maxAttempts: 3,
    onWait: async () => {},
  });

async function untilReady(db: MigrationDatabase): Promise<void> {
  const stop = new AbortController();
  const running = db.run(byOperator, { signal: stop.signal }).catch(() => undefined);
  while ((await getMigration(db.pool, 'm').catch(() => null))?.phase !== 'ready') await sleep(10);
  stop.abort();
  await running;
}

const order = (db: MigrationDatabase) =>
  db.pool.query(`update foreshadow.migration_status set orders = '{"abort": {"by": "somebody"}}'`);

test('a swap that is under way when an abort is ordered, or the phase goes back, is given up', async () => {
  const db = await migrationDatabase(setup);
  await untilReady(db);
  const late = await getMigration(db.pool, 'm');
  await order(db);
  expect(await failureOf(cutOver(db))).toMatchObject({
    code: 'CONFLICT',
    message: expect.stringContaining('to be aborted'),
  });
  await db.pool.query(`update foreshadow.migration_status set orders = '{}', phase = 'verify'`);
  const { pool, clock, connect } = db.ctx;
  const options = { pool, clock, connect: () => connect('cutover'), maxAttempts: 3, onWait: async () => {} };
  expect(await failureOf(cutOverWrites(late, options))).toMatchObject({
    code: 'CONFLICT',
    message: expect.stringContaining('in phase verify again'),
  });
});

test('an order to abort that came too late is none: the way back goes on, and can be gone', async () => {
  const db = await migrationDatabase(setup);
  await db.run(file);
  await order(db);
  await db.pool.query('insert into s values (1000, 1)');
  await db.run(file, { seconds: 1.5 }); // a stretch of the job runner's, which keeps the old table in step
  expect((await db.pool.query('select v from foreshadow.s_old where id = 1000')).rows).toEqual([{ v: 1 }]);
  await rollBackMigration(db.ctx, 'm', { attempts: 20 });
  expect((await getMigration(db.pool, 'm')).status).toBe('ROLLED_BACK');
  expect((await db.pool.query('select v from s where id = 1000')).rows).toEqual([{ v: 1 }]);
});

test('an evaluation of the shadow as it was before its size was changed is not written', async () => {
  const db = await migrationDatabase(setup);
  await db.run({ ...file, cutover: { ...file.cutover, reads: 'operator' } }, { until: 'READY' });
  const before = await getMigration(db.pool, 'm');
  expect(await updateEvaluation(db.pool, before, { similarity_score: 0.5 })).toBe(true);
  await resizeShadow(db.pool, 'm', 0.3, 'somebody');
  expect(await updateEvaluation(db.pool, before, { similarity_score: 0.25 })).toBe(false);
  const after = await getMigration(db.pool, 'm');
  expect(after.similarity_score).toBe(0.5);
  expect(await updateEvaluation(db.pool, after, { evaluated_at: new Date() })).toBe(true);
  expect(await updateEvaluation(db.pool, after, {}), 'another evaluation came before').toBe(false);
});

test('uninstalling waits for a long transaction without holding others up', async () => {
  const db = await migrationDatabase(setup);
  await db.run({ ...file, cutover: { ...file.cutover, finish: 'route' } });
  const reader = await db.client();
  await reader.query('begin; select 1 from t limit 1');
  const options = { clock: db.ctx.clock, grace: 0, dropOldTables: true };
  const uninstalled = uninstall(db.ctx.pool, options);
  const other = await db.client();
  await other.query("set statement_timeout = '1s'");
  for (const end = Date.now() + 1500; Date.now() < end; await sleep(20))
    await other.query('select 1 from t limit 1');
  await reader.query('commit');
  expect((await uninstalled).dropped).toEqual(['schema foreshadow']);
});

test('a session of ours that is idle in a transaction loses it, whatever the defaults say', async () => {
  const db = await migrationDatabase(setup);
  await db.pool.query(`alter database ${db.name} set idle_in_transaction_session_timeout = 0`);
  const client = await db.ctx.connect('cutover');
  const { rows } = await client.query('show idle_in_transaction_session_timeout');
  await client.end();
  expect(rows).toEqual([{ idle_in_transaction_session_timeout: '10s' }]);
});
