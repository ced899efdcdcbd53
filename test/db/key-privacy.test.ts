import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { batchesAfter } from '../../src/access/store.queries.ts';
import type { Context } from '../../src/context.ts';
import { Live } from '../../src/pipeline/live.ts';
import { observedSoFar } from '../../src/pipeline/observation.ts';
import { reportAccesses } from '../../src/pipeline/reporting.ts';
import { scoreKeys } from '../../src/pipeline/scoring.ts';
import { runMigration, startMigration } from '../../src/pipeline.ts';
import { afterFile } from '../support/database.ts';
import { failureOf, type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

const setup = `
  create table s (id int primary key, v int, note text); create table t (id int primary key, v int, note text);
  insert into s select g, g, 'n' from generate_series(70001, 70200) g;`;

async function logOf(db: MigrationDatabase, lines: [message: string, detail?: string][]): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'foreshadow-test-privacy-'));
  afterFile(() => rm(path, { recursive: true }));
  const file = join(path, 'log.json');
  const now = new Date(Date.now() - 60_000).toISOString().replace('T', ' ').slice(0, 23);
  const records = lines.map(([message, detail]) =>
    JSON.stringify({
      ...{
        timestamp: `${now} UTC`,
        user: 'u',
        dbname: db.name,
        pid: 1,
        session_id: 'a',
        error_severity: 'LOG',
      },
      ...{ message, application_name: 'app', ...(detail && { detail }) },
    }),
  );
  await writeFile(file, `${records.join('\n')}\n`);
  return file;
}

const secret = 'Quicksilver';
const lines: [string, string?][] = [
  [`statement: update s set note = '${secret} one' where id = 70001`],
  ['execute a: update s set note = $1 where id = $2', `Parameters: $1 = '${secret} two', $2 = '70002'`],
  [`statement: select * from s where note = '${secret} three'`],
  [`statement: select * from s where note = E'${secret} \\' four' or note = $x$${secret}$x$ -- ${secret}`],
  [`statement: selct * from s where note = '${secret} five'`],
  [`statement: select s.* from s where note in ('${secret} 6', '${secret} 7') and id = -777123`],
  [`statement: insert into s (id, v) values (70003, 987654321)`],
  [`statement: select * from s where v between 987654321 and 987654322`],
  ['statement: select 1'],
];

/** Every row of every table of ours, and what the accesses in it hold, as text. */
async function everythingStored(db: MigrationDatabase, id: number): Promise<string> {
  const { rows } = await db.pool.query<{ name: string }>(
    "select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'foreshadow'",
  );
  const texts: string[] = [];
  for (const { name } of rows) {
    const found = await db.pool.query<{ text: string }>(
      `select coalesce(string_agg(x::text, '\n'), '') as text from ${name} x`,
    );
    texts.push(found.rows[0]?.text ?? '');
  }
  texts.push(JSON.stringify(await batchesAfter(db.ctx.pool, id, 0, 1000)));
  return texts.join('\n');
}

test('of what statements carry, only keys are stored', async () => {
  const db = await migrationDatabase(setup);
  const migration = await startMigration(db.ctx, migrationOf({ queryLog: { path: await logOf(db, lines) } }));
  await new Live(db.ctx).catchUp(migration);
  const stored = await everythingStored(db, migration.id);
  expect(stored).not.toContain(secret);
  expect(stored).not.toContain('987654321');
  expect(stored).toContain('70001');
  expect(stored).toContain('select * from s where note = ?');
  expect(stored).toContain('selct * from s where note =');
});

const hashing = (db: MigrationDatabase, keySecret = 'a secret of some length'): Context => ({
  ...db.ctx,
  config: { ...db.ctx.config, keySecret },
});

test('with hashKeys the store has no key either, and everything works as ever', async () => {
  const db = await migrationDatabase(setup);
  const path = await logOf(db, [
    ...lines,
    ...Array.from({ length: 40 }, (): [string] => ['statement: select * from s where id = 70150']),
    ['statement: select 1'],
  ]);
  const file = migrationOf({ queryLog: { path, hashKeys: true } });
  expect((await failureOf(startMigration(db.ctx, file))).message).toContain('FORESHADOW_KEY_SECRET');

  const ctx = hashing(db);
  const migration = await startMigration(ctx, file);
  const live = new Live(ctx);
  await live.catchUp(migration);
  await reportAccesses(ctx, migration, [{ key: '70009', op: 'R', at: Date.now() / 1000 }]);
  const stored = await everythingStored(db, migration.id);
  for (const key of ['70001', '70009', '70150']) expect(stored).not.toContain(`"${key}"`);
  expect(
    (await batchesAfter(ctx.pool, migration.id, 0, 9)).flatMap(({ accesses }) =>
      accesses.map(({ key }) => key.length),
    ),
  ).toContain(22);

  // another process, which has hashed nothing itself, tells the same keys by a pass over the table
  const elsewhere = { ...ctx, pool: db.pool };
  const keys = (await observedSoFar(elsewhere, migration)).map(({ key }) => key);
  expect(keys.filter((key) => key === '70150')).toHaveLength(40);
  expect([...new Set(keys)].sort()).toEqual(['70001', '70002', '70003', '70009', '70150']);
  const other = new Live(elsewhere);
  await other.follow(migration);
  const { known, accesses } = await scoreKeys(
    other,
    migration,
    ['70150', '70009', '70199'],
    Date.now() / 1000,
  );
  expect(known).toEqual([true, true, false]);
  expect(accesses[0]).toBeGreaterThan(accesses[1] as number);

  // another secret knows nothing
  const stranger = { ...hashing(db, 'another secret of length'), pool: await otherPool(db) };
  expect(await observedSoFar(stranger, migration)).toEqual([]);
});

async function otherPool(db: MigrationDatabase): Promise<Context['pool']> {
  const { createPool } = await import('../../src/db/pool.ts');
  const pool = createPool({ url: db.url, applicationName: 'foreshadow test', log: db.ctx.log });
  const end = db.pool.end.bind(db.pool);
  db.pool.end = (async () => {
    await pool.end();
    await end();
  }) as typeof db.pool.end;
  return pool;
}

test('a migration with hashed keys runs to its end, and its shadow holds the rows in use', async () => {
  const db = await migrationDatabase(setup);
  const path = await logOf(
    db,
    Array.from({ length: 60 }, (_, i): [string] => [
      `statement: select * from s where id = ${70_001 + (i % 3)}`,
    ]),
  );
  const file = migrationOf({
    queryLog: { path, hashKeys: true },
    shadow: { fraction: 0.2, weights: { predictive: 0.5, frequency: 0.1, change: 0.1, random: 0.3 } },
    cutover: { reads: 'operator' },
  });
  const ctx = hashing(db);
  await runMigration(ctx, file, { until: 'READY' });
  const { rows } = await db.pool.query('select id from foreshadow.t order by id').catch(async () => {
    const found = await db.pool.query<{ name: string }>(
      "select schemaname || '.' || quote_ident(tablename) as name from pg_tables where schemaname = 'foreshadow' and tablename like '%t%'",
    );
    throw new Error(found.rows.map(({ name }) => name).join());
  });
  expect(rows.map(({ id }) => id)).toEqual(expect.arrayContaining([70_001, 70_002, 70_003]));
});
