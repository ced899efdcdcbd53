import { expect, test, vi } from 'vitest';
import { settledUntil } from '../../src/access/change-times.queries.ts';
import { batchesAfter } from '../../src/access/store.queries.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import type { Migration } from '../../src/migration/status.store.ts';
import { ChangeSignals, usable } from '../../src/pipeline/change-signals.ts';
import { Mining } from '../../src/pipeline/mining.ts';
import { startMigration } from '../../src/pipeline.ts';
import { afterFile } from '../support/database.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

const setup = `
  create table s (id int primary key, v int, changed timestamptz not null default now());
  create table t (id int primary key, v int, changed timestamptz not null);
  create index on s (changed);
  insert into s select g, g, now() - interval '1 minute' * g from generate_series(1, 100) g;`;

async function taken(db: MigrationDatabase, { id }: Migration): Promise<string[]> {
  const batches = await batchesAfter(db.ctx.pool, id, 0, 1000);
  return batches.map(({ source, accesses }) => `${source} ${accesses.map(({ key, op }) => op + key)}`);
}

/** As if time had passed since the last look. */
const look = (db: MigrationDatabase, migration: Migration) => new ChangeSignals(db.ctx, migration).take();

test('without a log, change times are followed from where they stopped, each once, two processes or one', async () => {
  const db = await migrationDatabase(setup);
  const migration = await startMigration(db.ctx, migrationOf({ signals: { updatedAt: 'changed' } }));
  await Mining.open(db.ctx, migration);
  expect(await look(db, migration)).toBe(100);
  expect(await look(db, migration)).toBe(0);
  await db.pool.query('update s set changed = clock_timestamp() where id in (7, 9)');
  // transactions of others on this server may hold it back for a moment, and a look may end between the two changes
  let found = 0;
  await vi.waitFor(async () => {
    for (const count of await Promise.all([look(db, migration), look(db, migration)])) found += count;
    expect(found).toBe(2);
  }, 20_000);
  const changes = (await taken(db, migration)).slice(1).flatMap((batch) => batch.match(/W\d+/g));
  expect(changes.sort()).toEqual(['W7', 'W9']);
});

test('a row of a transaction that commits late is not passed over', async () => {
  const db = await migrationDatabase(setup);
  const migration = await startMigration(db.ctx, migrationOf({ signals: { updatedAt: 'changed' } }));
  await Mining.open(db.ctx, migration);
  await look(db, migration);
  const late = await db.client();
  await late.query('begin');
  await late.query('update s set changed = now() where id = 1');
  await db.pool.query('update s set changed = now() where id = 2');
  expect(await look(db, migration)).toBe(0);
  await late.query('commit');
  expect(await look(db, migration)).toBe(2);
  await late.end();
});

test('a large table without an index is not scanned, and that is said', () => {
  const definition = { source: 'public.s', signals: { createdAt: 'made', updatedAt: 'changed' } };
  const ways = { indexed: new Set(['made']), pages: 1e6, commitTimestamps: false };
  expect(usable(definition, ways)).toEqual({
    columns: ['made'],
    commits: false,
    problems: [
      expect.stringMatching(/^the change times in changed are not used: no index.*create index concurrently/),
    ],
  });
  expect(usable(definition, { ...ways, pages: 10 }).columns).toEqual(['made', 'changed']);
  const commits = { source: 'public.s', signals: { commitTimestamps: true } };
  expect(usable(commits, { ...ways, pages: 10 }).problems).toEqual([
    expect.stringContaining('track_commit_timestamp is off'),
  ]);
  expect(usable(commits, { ...ways, commitTimestamps: true }).problems).toEqual([
    expect.stringContaining('too large'),
  ]);
});

test('commit timestamps, where the server keeps them, are the change times of rows without a column', async () => {
  const server = await startEmbedded({ settings: { track_commit_timestamp: 'on', autovacuum: 'off' } });
  afterFile(() => server.stop());
  const db = await migrationDatabase(
    `create table s (id int primary key, v int); create table t (id int primary key, v int);
     insert into s select g, g from generate_series(1, 2000) g;`,
    server,
  );
  const migration = await startMigration(db.ctx, migrationOf({ signals: { commitTimestamps: true } }));
  await db.pool.query('update s set v = 0 where id = 5');
  // there is one pass only, and it goes up to where no transaction is left that began earlier
  await vi.waitFor(async () => {
    const { rows } = await db.pool.query<{ at: number }>(
      'select extract(epoch from pg_xact_commit_timestamp(xmin))::float8 as at from s where id = 5',
    );
    const at = rows[0]?.at ?? Number.NaN;
    expect(await settledUntil(db.pool)).toBeGreaterThan(at);
    expect(db.ctx.clock.now()).toBeGreaterThan(at);
  }, 20_000);
  await Mining.open(db.ctx, migration);
  expect(await look(db, migration)).toBe(2000);
  const [batch] = await batchesAfter(db.ctx.pool, migration.id, 0, 10);
  expect(batch?.accesses.at(-1)).toMatchObject({ key: '5', op: 'W' });
  expect(Math.abs((batch?.accesses.at(-1)?.at ?? 0) - Date.now() / 1000)).toBeLessThan(600);
});
