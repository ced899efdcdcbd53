import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { groupsOfKeys } from '../../src/access/groups.queries.ts';
import { appendAccesses } from '../../src/access/store.queries.ts';
import type { Context } from '../../src/context.ts';
import type { Access } from '../../src/core/access.ts';
import { getMigration, type Migration } from '../../src/migration/status.store.ts';
import { describeMigration } from '../../src/migration/status.ts';
import { learn } from '../../src/pipeline/learning.ts';
import { Live } from '../../src/pipeline/live.ts';
import { startMigration } from '../../src/pipeline.ts';
import { afterFile } from '../support/database.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

const setup = `
  create table s (id int primary key, tenant int, v int);
  create table t (id bigint primary key, tenant int, v int);
  insert into s select g, nullif(g % 4, 3), g from generate_series(1, 5000) g;`;
const hour = 3600;
const grouped = { predict: { group: 'tenant', horizon: '1h' } } as const;

async function calendarOf(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-calendar-'));
  afterFile(() => rm(folder, { recursive: true }));
  const path = join(folder, 'calendar.csv');
  await writeFile(path, text);
  return path;
}

/** The context, with every statement that its pool is asked for. */
function listening(ctx: Context): { ctx: Context; asked: string[] } {
  const asked: string[] = [];
  const pool = new Proxy(ctx.pool, {
    get(target, name) {
      if (name !== 'query') return Reflect.get(target, name, target);
      return (text: string, values: unknown[]) => {
        asked.push(text);
        return target.query(text, values);
      };
    },
  });
  return { ctx: { ...ctx, pool }, asked };
}

const reads = (from: number, to: number, at: number): Access[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ key: String(from + i), op: 'R', at: at + i / 1000 }));

/** What the live engine expects of a row's group: the last columns of its vector. */
function groupColumnsOf(live: Live, key: string, now: number): Record<string, number> {
  const { engine } = live.observation!;
  const slot = engine.slotOf(key);
  if (slot === undefined) throw new Error(`key ${key} was not seen`);
  const vector = engine.matrix(now, [slot]);
  const names = ['group_forecast', 'group_recent', 'announced', 'ongoing'];
  return Object.fromEntries(names.map((name) => [name, vector[engine.spec.columns.indexOf(name)]!]));
}

test('groups of keys: by batch, as text, null and gone left out, keys that the type cannot hold too', async () => {
  const db = await migrationDatabase(setup);
  const { plan } = await startMigration(db.ctx, migrationOf());
  const keys = Array.from({ length: 4500 }, (_, i) => String(i + 1));
  const groups = await groupsOfKeys(db.ctx.pool, plan, 'tenant', [...keys, '99999', '99999999999999']);
  expect(groups.size).toBe(3375);
  expect(['1', '2', '3', '4', '4499', '99999'].map((key) => groups.get(key))).toEqual([
    '1',
    '2',
    undefined,
    '0',
    undefined,
    undefined,
  ]);
  // as the write cutover does: another name, another schema, and another table under the old one
  await db.pool.query(`alter table s rename to s_old; alter table s_old set schema foreshadow;
    create table s (id text primary key)`);
  expect((await groupsOfKeys(db.ctx.pool, plan, 'tenant', ['1', '2'])).get('2')).toBe('2');
  await db.pool.query('alter table foreshadow.s_old drop column tenant');
  expect((await groupsOfKeys(db.ctx.pool, plan, 'tenant', ['1'])).size).toBe(0);
  await db.pool.query('drop table foreshadow.s_old');
  expect((await groupsOfKeys(db.ctx.pool, plan, 'tenant', ['1'])).size).toBe(0);
});

test('live features know the groups: one query for all new keys, none for known ones', async () => {
  const db = await migrationDatabase(setup);
  const { ctx, asked } = listening(db.ctx);
  const migration = await startMigration(ctx, migrationOf(grouped));
  const now = Math.floor(ctx.clock.now());
  const lookups = () => asked.filter((sql) => /"tenant"/.test(sql)).length;
  const live = new Live(ctx);
  // many small batches, as an application reports them
  for (let i = 1; i <= 50; i++)
    await appendAccesses(ctx.pool, migration.id, 'reported', reads(i, i, now - 10));
  await live.follow(migration);
  expect(lookups()).toBe(1);
  await appendAccesses(ctx.pool, migration.id, 'reported', reads(1, 50, now - 5));
  await live.follow(migration);
  expect(lookups()).toBe(1);
  await appendAccesses(ctx.pool, migration.id, 'reported', reads(51, 60, now - 4));
  await live.follow(migration);
  expect(lookups()).toBe(2);
  // tenant 1 gets busy: its idle rows are told, others' are not
  const busy = Array.from({ length: 300 }, (_, i): Access => ({ key: '5', op: 'R', at: now - 3 + i / 1000 }));
  const before = { own: groupColumnsOf(live, '1', now), other: groupColumnsOf(live, '2', now) };
  await appendAccesses(ctx.pool, migration.id, 'reported', busy);
  await live.follow(migration);
  expect(groupColumnsOf(live, '1', now).group_recent!).toBeGreaterThan(before.own.group_recent! + 1);
  expect(groupColumnsOf(live, '2', now).group_recent!).toBeCloseTo(before.other.group_recent!, 2);
});

test('captured changes bring their groups along', async () => {
  const db = await migrationDatabase(setup);
  const file = migrationOf({ ...grouped, cutover: { reads: 'operator' } });
  await db.run(file, { until: 'READY' });
  const migration = await getMigration(db.ctx.pool, 'm');
  await db.pool.query('insert into s values (6001, 7, 1), (6002, 7, 1)');
  const lane = db.run(file, { seconds: 3 });
  const live = new Live(db.ctx);
  for (const end = performance.now() + 10_000; performance.now() < end; ) {
    await live.follow(migration);
    if (live.observation?.engine.slotOf('6002') !== undefined) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await lane;
  const now = db.ctx.clock.now();
  const group = groupColumnsOf(live, '6001', now);
  expect(group).toEqual(groupColumnsOf(live, '6002', now));
  await appendAccesses(
    db.ctx.pool,
    migration.id,
    'reported',
    Array.from({ length: 100 }, (): Access => ({ key: '6001', op: 'R', at: now - 0.1 })),
  );
  await live.follow(migration);
  expect(groupColumnsOf(live, '6002', now).group_recent!).toBeGreaterThan(group.group_recent! + 1);
  await appendAccesses(db.ctx.pool, migration.id, 'reported', reads(1, 1, now - 0.1));
  await live.follow(migration);
  // one access, of another tenant
  const busy = groupColumnsOf(live, '6002', now).group_recent!;
  expect(groupColumnsOf(live, '1', now).group_recent!).toBeLessThan(busy - 2);
});

/** Two days: tenant 1 is busy within its events and idle otherwise, the others are always at it. */
async function withHistory(db: MigrationDatabase, migration: Migration, now: number): Promise<void> {
  const accesses: Access[] = [];
  for (let at = now - 48 * hour, i = 0; at < now; at += 30, i++) {
    accesses.push({ key: String((i % 40) * 4 + 2), op: 'R', at });
    if (Math.floor((now - at) / hour) % 6 === 3)
      accesses.push({ key: String((i % 40) * 4 + 1), op: 'R', at: at + 1 });
  }
  await appendAccesses(db.ctx.pool, migration.id, 'reported', accesses);
}

test('announced events and groups reach training, the saved model, live features and the scores', async () => {
  const db = await migrationDatabase(setup);
  const now = Math.floor(db.ctx.clock.now());
  const rows = Array.from({ length: 8 }, (_, i) => now - (i * 6 + 4) * hour).map(
    (start) => `${start},${start + hour},1,import,`,
  );
  const calendar = await calendarOf(
    ['start,end,group,kind,weight', ...rows, `${now - 60},${now + hour},1,import,`].join('\n'),
  );
  const migration = await startMigration(db.ctx, migrationOf({ predict: { ...grouped.predict, calendar } }));
  await withHistory(db, migration, now);
  const learnt = await learn(db.ctx, migration);
  expect(learnt?.predictor.manifest.feature_spec.grouped).toBe(true);
  const status = await describeMigration(db.ctx.pool, 'm');
  expect(status.model).toMatchObject({ version: '0001', announced_events: 9, announced_problems: [] });
  const live = new Live(db.ctx);
  await live.follow(await getMigration(db.ctx.pool, 'm'));
  expect(live.modelVersion).toBe('0001'); // its features are those that it was trained on
  expect(groupColumnsOf(live, '1', now)).toMatchObject({ ongoing: 1, announced: 1 });
  expect(groupColumnsOf(live, '2', now)).toMatchObject({ ongoing: 0, announced: 0 });
  learnt?.predictor.dispose();
  live.dispose();
});

test('public holidays concern rows of every group', async () => {
  const db = await migrationDatabase(setup);
  const file = migrationOf({
    predict: { ...grouped.predict, holidays: { country: 'DE', timeZone: 'Europe/Berlin' } },
  });
  const migration = await startMigration(db.ctx, file);
  const newYear = Date.parse('2026-01-01T00:00:00+01:00') / 1000;
  await appendAccesses(db.ctx.pool, migration.id, 'reported', reads(1, 4, newYear - 5 * hour));
  const live = new Live(db.ctx);
  await live.follow(migration);
  for (const key of ['1', '2', '3']) {
    expect(groupColumnsOf(live, key, newYear)).toMatchObject({ ongoing: 1, announced: 1 });
    expect(groupColumnsOf(live, key, newYear - 2 * hour)).toMatchObject({ ongoing: 0, announced: 0 });
  }
});

test('a calendar that cannot be read is said, by path and line, and prediction goes on', async () => {
  const db = await migrationDatabase(setup);
  const now = Math.floor(db.ctx.clock.now());
  const calendar = await calendarOf('start,end,group\n1,2,\nsoon,3,\n');
  const migration = await startMigration(db.ctx, migrationOf({ predict: { ...grouped.predict, calendar } }));
  const warnings = async () =>
    (
      await db.pool.query(
        "select detail->>'message' as message from foreshadow.migration_event where kind = 'warning'",
      )
    ).rows.map((row) => row.message);
  expect(await learn(db.ctx, migration)).toBeNull(); // nothing seen yet
  const problem = expect.stringMatching(/calendar\.csv:3: start must be .* not "soon"/);
  expect((await describeMigration(db.ctx.pool, 'm')).model).toMatchObject({ announced_problems: [problem] });
  await withHistory(db, migration, now);
  const learnt = await learn(db.ctx, migration);
  expect((await describeMigration(db.ctx.pool, 'm')).model).toMatchObject({
    version: '0001',
    announced_events: 0,
    announced_problems: [problem],
  });
  const live = new Live(db.ctx);
  await live.follow(await getMigration(db.ctx.pool, 'm'));
  expect(live.modelVersion).toBe('0001');
  expect(await warnings()).toEqual([problem]); // once, though three have read it
  learnt?.predictor.dispose();
  live.dispose();
});
