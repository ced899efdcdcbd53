import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { expect } from 'vitest';
import { afterFile, type TestDatabase } from '../support/database.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';
import { type Child, foreshadow } from './child.ts';
import { differenceSql } from './rig.ts';
import { below } from './writers.ts';

const rows = 12_000;
const setup = `
  create table s (id int primary key, v int not null, w text, u text unique);
  insert into s select g, g, case when g % 3 > 0 then 'w' || g end, 'u' || g from generate_series(1, ${rows}) g;
  create table t (id bigint primary key, v numeric(14, 2) not null, w text, u text unique);
  -- what the application did, in its own transactions: the last entry of a key is what the key must be
  create table initial as select * from s;
  create table ledger (n bigint generated always as identity, id bigint, gone boolean, v numeric, w text, u text);
  create index on ledger (id, n);`;

/** What the table must hold, from the application's own books alone. */
const expected = `
  with last as (select distinct on (id) * from ledger order by id, n desc)
  select i.id::bigint as id, i.v::numeric(14, 2) as v, i.w, i.u from initial i where not exists (select 1 from last l where l.id = i.id)
  union all select l.id, l.v::numeric(14, 2), l.w, l.u from last l where not l.gone`;

/** Statements that write the row and its ledger entry together; they mean the same before and after the swap. */
const entry = (statement: string, gone: boolean) =>
  `with changed as (${statement} returning id, v, w, u)
   insert into ledger (id, gone, v, w, u) select id, ${gone}, v, w, u from changed`;

async function writer(db: TestDatabase, id: number, stop: { readonly now: boolean }): Promise<number> {
  const client = await db.client({ application_name: `writer ${id}` });
  const isolation = ['read committed', 'repeatable read', 'serializable'][id % 3];
  const someKey = () => String(1 + below(rows * 1.1));
  let committed = 0;
  const turns: (() => Promise<unknown>)[] = [
    () => client.query(entry('update s set v = v + 1 where id = $1', false), [someKey()]),
    () => client.query(entry('update s set w = null where id = $1', false), [someKey()]),
    () =>
      client.query(entry(`update s set w = 'x' || v where id between $1 and $1 + 20`, false), [someKey()]),
    () => client.query(entry('delete from s where id = $1', true), [someKey()]),
    () =>
      client.query(entry('insert into s (id, v) values ($1, 5) on conflict do nothing', false), [someKey()]),
    () => swap(client, someKey(), someKey()),
  ];
  while (!stop.now) {
    try {
      await client.query(`begin isolation level ${isolation}`);
      for (let left = 1 + below(3); left > 0; left--) await turns[below(turns.length)]?.();
      await client.query(below(10) ? 'commit' : 'rollback');
      committed += 1;
    } catch (error) {
      if (!['40001', '40P01', '23505'].includes((error as { code?: string }).code ?? '')) throw error;
      await client.query('rollback');
    }
    await sleep(below(20));
  }
  await client.end();
  return committed;
}

/** Two rows exchange their unique value. */
async function swap(client: Client, one: string, other: string): Promise<void> {
  const { rows: found } = await client.query<{ id: string; u: string | null }>(
    'select id::text, u from s where id in ($1, $2) order by id for update',
    [one, other],
  );
  if (found.length < 2) return;
  const set = (id: string | undefined, u: string | null | undefined) =>
    client.query(entry('update s set u = $2 where id = $1', false), [id, u]);
  await set(found[0]?.id, null);
  await set(found[1]?.id, found[0]?.u);
  await set(found[0]?.id, found[1]?.u);
}

export interface Place {
  status: string;
  phase: string;
}
export async function placeOf(db: TestDatabase): Promise<Place> {
  const { rows: found } = await db.pool.query<Place>('select status, phase from foreshadow.migration_status');
  return found[0] ?? { status: 'none', phase: 'none' };
}

export async function until(what: string, seconds: number, holds: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + seconds * 1000; !(await holds()); await sleep(5)) {
    if (performance.now() > end) throw new Error(`${seconds} s went by without: ${what}`);
  }
}

export interface LedgerMigration {
  readonly db: TestDatabase;
  /** for models and files; goes with the test file */
  readonly folder: string;
  /** the migration file */
  readonly path: string;
}

/**
 * A migration of a table that five writers change all along, each change with an entry in a ledger. At the end it must be
 * complete, and the table what the ledger says; any error of a writer other than a conflict of its own making fails it.
 */
export async function underWriters(
  name: string,
  body: (migration: LedgerMigration, run: (...flags: string[]) => Child) => Promise<void>,
): Promise<void> {
  const db = await migrationDatabase(setup);
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-kill-'));
  afterFile(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'm.json');
  const file = migrationOf({
    name,
    map: { id: 'id::bigint', v: 'v::numeric(14, 2)' },
    confidence: { every: '300ms', consecutive: 3 },
    predict: { every: '1s' },
    copy: { rowsPerSecond: 2500, chunkRows: 100 },
  });
  await writeFile(path, JSON.stringify(file));
  const stop = { now: false };
  const writers = Array.from({ length: 5 }, (_, id) => writer(db, id, stop));
  const broken = Promise.race(writers).then(() => Promise.reject(new Error('a writer ended too early')));
  broken.catch(() => {});
  try {
    await Promise.race([
      broken,
      body({ db, folder, path }, (...flags) => foreshadow(db.url, folder, 'run', path, ...flags)),
    ]);
    await sleep(500);
  } finally {
    stop.now = true;
    await Promise.allSettled(writers);
  }
  const committed = (await Promise.all(writers)).reduce((sum, n) => sum + n, 0);
  expect(committed).toBeGreaterThan(200);
  expect(await placeOf(db)).toMatchObject({ status: 'COMPLETED' });
  const { rows: columns } = await db.pool.query(
    `select data_type as type from information_schema.columns where table_schema = 'public' and table_name = 's' and column_name = 'id'`,
  );
  expect(columns).toEqual([{ type: 'bigint' }]);
  const { rows: different } = await db.pool.query(differenceSql('select id, v, w, u from s', expected));
  expect(different.slice(0, 10)).toEqual([]);
}
