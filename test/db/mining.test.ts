import { appendFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { decodeAccesses, encodeAccesses } from '../../src/access/batch.ts';
import {
  appendAccesses,
  batchesAfter,
  countAccesses,
  forgetAccesses,
} from '../../src/access/store.queries.ts';
import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';
import type { Migration } from '../../src/migration/status.store.ts';
import { Live } from '../../src/pipeline/live.ts';
import { Mining } from '../../src/pipeline/mining.ts';
import { startMigration } from '../../src/pipeline.ts';
import { afterFile } from '../support/database.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

const setup = `
  create table s (id int primary key, v int, changed timestamptz not null default now());
  create table t (id int primary key, v int, changed timestamptz not null);
  insert into s select g, g, timestamptz '2026-05-01 11:00Z' from generate_series(1, 100) g;`;

async function planned(): Promise<{ db: MigrationDatabase; migration: Migration; log: string }> {
  const db = await migrationDatabase(setup);
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-mining-'));
  afterFile(() => rm(folder, { recursive: true }));
  const log = join(folder, 'postgres.json');
  await writeFile(log, '');
  const file = migrationOf({ queryLog: { path: join(folder, '*.json') }, signals: { updatedAt: 'changed' } });
  return { db, migration: await startMigration(db.ctx, file), log };
}

let clock = Date.parse('2026-05-01T12:00:00Z');
const at = () => `${new Date((clock += 7)).toISOString().replace('T', ' ').slice(0, 23)} UTC`;
const record = (db: MigrationDatabase, session: string, fields: Record<string, unknown>) =>
  `${JSON.stringify({
    timestamp: at(),
    user: 'app',
    dbname: db.name,
    pid: 1,
    session_id: session,
    application_name: 'app',
    ...fields,
  })}\n`;
/** As log_statement writes it: before the statement runs. */
const begun = (db: MigrationDatabase, session: string, sql: string) =>
  record(db, session, { error_severity: 'LOG', message: `statement: ${sql}` });
const failed = (db: MigrationDatabase, session: string, sql: string) =>
  record(db, session, { error_severity: 'ERROR', message: 'no', statement: sql });

async function stored(db: MigrationDatabase, { id }: Migration): Promise<Access[]> {
  return (await batchesAfter(db.ctx.pool, id, 0, 100_000))
    .filter(({ source }) => source === 'log')
    .flatMap(({ accesses }) => accesses);
}

test('two miners at once, each killed again and again, over a growing and rotated log: each access once', async () => {
  const { db, migration, log } = await planned();
  const rng = seededRng(4);
  const truth = new Map<string, number>();
  const miners = [await Mining.open(db.ctx, migration), await Mining.open(db.ctx, migration)];
  const turn = async (i: number) => {
    // a miner that is dropped in the middle of things, with statements it has read and not yet handed out
    if (rng() < 0.3) miners[i] = await Mining.open(db.ctx, migration);
    await miners[i]!.step();
  };
  for (let round = 0; round < 60; round++) {
    let text = '';
    for (let n = Math.floor(rng() * 40); n > 0; n--) {
      const session = `s${Math.floor(rng() * 4)}`;
      const key = String(1 + Math.floor(rng() * 20));
      const sql = rng() < 0.5 ? `select * from s where id = ${key}` : `update s set v = 1 where id = ${key}`;
      text += begun(db, session, sql);
      if (rng() < 0.1) text += failed(db, session, sql);
      else truth.set(key, (truth.get(key) ?? 0) + 1);
    }
    // sometimes only a part of the last line is there yet
    const cut = rng() < 0.5 ? text.length : Math.max(0, text.length - 30);
    await appendFile(log, text.slice(0, cut));
    await Promise.all([turn(0), turn(1)]);
    await appendFile(log, text.slice(cut));
    if (round % 20 === 19) {
      await rename(log, `${log.slice(0, -5)}-${round}.json`);
      await writeFile(log, '');
    }
  }
  const total = [...truth.values()].reduce((a, b) => a + b, 0);
  for (const end = performance.now() + 10_000; performance.now() < end; ) {
    await turn(0);
    if ((await stored(db, migration)).length >= total) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const found = new Map<string, number>();
  for (const { key } of await stored(db, migration)) found.set(key, (found.get(key) ?? 0) + 1);
  expect(total).toBeGreaterThan(500);
  expect(Object.fromEntries([...found].sort())).toEqual(Object.fromEntries([...truth].sort()));
});

test('a step that cannot be stored is done again: nothing is left out', async () => {
  const { db, migration, log } = await planned();
  const mining = await Mining.open(db.ctx, migration);
  const lines = (n: number) => begun(db, 'a', 'select * from s where id = 3').repeat(n);
  await appendFile(log, lines(50));
  await mining.step();
  await appendFile(log, lines(50));
  await db.pool.query('alter table foreshadow.access_batch rename to elsewhere');
  await expect(mining.step()).rejects.toThrow(/access_batch/);
  await db.pool.query('alter table foreshadow.elsewhere rename to access_batch');
  await appendFile(log, begun(db, 'a', 'select 1'));
  await mining.step();
  expect(await stored(db, migration)).toHaveLength(100);
});

test('every follower sees the same: log, reports, and what the rows say of themselves', async () => {
  const { db, migration, log } = await planned();
  await writeFile(log, begun(db, 'a', 'select * from s where id = 5') + begun(db, 'a', 'select 1'));
  const first = new Live(db.ctx);
  await first.catchUp(migration);
  await appendAccesses(db.ctx.pool, migration.id, 'reported', [
    { key: '7', op: 'R', at: clock / 1000, weight: 3 },
  ]);
  const second = new Live(db.ctx);
  await first.follow(migration);
  await second.follow(migration);
  await first.follow(migration);
  for (const live of [first, second]) {
    const { engine } = live.observation!;
    expect(engine.size).toBe(100); // all rows, by their `changed`
    expect(engine.lfu()[engine.slotOf('5')!]).toBe(2);
    expect(engine.lfu()[engine.slotOf('7')!]).toBe(4);
    expect(engine.lfu()[engine.slotOf('8')!]).toBe(1);
  }
});

test('the oldest batches are forgotten beyond what is kept', async () => {
  const { db, migration } = await planned();
  const batch = (n: number) =>
    Array.from({ length: n }, (_, i): Access => ({ key: String(i), op: 'R', at: 1000 + i }));
  for (const n of [10, 20, 30]) await appendAccesses(db.ctx.pool, migration.id, 'reported', batch(n));
  await forgetAccesses(db.ctx.pool, migration.id, 50);
  expect(await countAccesses(db.ctx.pool, migration.id)).toBe(50);
  await forgetAccesses(db.ctx.pool, migration.id, 49);
  expect(await countAccesses(db.ctx.pool, migration.id)).toBe(30);
});

test('a batch gives back what was put in', () => {
  const accesses: Access[] = [
    { key: '["a","1"]', op: 'R', at: 1_700_000_000.123 },
    { key: 'ключ', op: 'W', at: 1_699_999_999.999, weight: 2.5 },
    { key: '["a","1"]', op: 'W', at: 1_700_000_000.123 },
  ];
  expect(decodeAccesses(encodeAccesses(accesses))).toEqual(accesses);
  expect(decodeAccesses(encodeAccesses([]))).toEqual([]);
});
