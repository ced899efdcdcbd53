import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { describe, expect, it } from 'vitest';
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

interface Place {
  status: string;
  phase: string;
}
async function placeOf(db: TestDatabase): Promise<Place> {
  const { rows: found } = await db.pool.query<Place>('select status, phase from foreshadow.migration_status');
  return found[0] ?? { status: 'none', phase: 'none' };
}

async function until(what: string, seconds: number, holds: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + seconds * 1000; !(await holds()); await sleep(5)) {
    if (performance.now() > end) throw new Error(`${seconds} s went by without: ${what}`);
  }
}

async function underWriters(
  name: string,
  body: (db: TestDatabase, run: (...flags: string[]) => Child) => Promise<void>,
): Promise<void> {
  const db = await migrationDatabase(setup);
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-kill-'));
  afterFile(() => rm(folder, { recursive: true, force: true }));
  const file = migrationOf({
    name,
    map: { id: 'id::bigint', v: 'v::numeric(14, 2)' },
    confidence: { every: '300ms', consecutive: 3 },
    predict: { every: '1s' },
    copy: { rowsPerSecond: 2500, chunkRows: 100 },
  });
  await writeFile(join(folder, 'm.json'), JSON.stringify(file));
  const stop = { now: false };
  const writers = Array.from({ length: 5 }, (_, id) => writer(db, id, stop));
  const broken = Promise.race(writers).then(() => Promise.reject(new Error('a writer ended too early')));
  broken.catch(() => {});
  try {
    await Promise.race([
      broken,
      body(db, (...flags) => foreshadow(db.url, folder, 'run', join(folder, 'm.json'), ...flags)),
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

/** A run to the end. Lanes are being shot at meanwhile, so one that gives up is started again. */
async function complete(db: TestDatabase, run: (...flags: string[]) => Child): Promise<void> {
  for (let attempt = 1; (await placeOf(db)).status !== 'COMPLETED'; attempt++) {
    const child = run('--json');
    const code = await child.ended;
    if (code !== 0 && attempt >= 3) throw new Error(`exit ${code}: ${child.output.stderr}`);
  }
}

describe('run, killed', () => {
  it('ten times in a row at random moments, with lanes shot all along, loses nothing', async () => {
    const seen: string[] = [];
    let shots = 0;
    await underWriters('killed', async (db, run) => {
      const shooting = { over: false };
      const shooter = (async () => {
        while (!shooting.over) {
          await sleep(200 + below(400));
          if (shooting.over || db.pool.ended) return;
          const { rowCount } = await db.pool.query(
            `select pg_terminate_backend(pid) from (select pid from pg_stat_activity
              where datname = current_database() and application_name = 'foreshadow lane' order by random() limit 1) a`,
          );
          shots += rowCount ?? 0;
        }
      })();
      // A random moment of a random length is mostly a moment of copying; the short phases are lain in wait for.
      const ambushes: (Partial<Place> | null)[] = [
        { status: 'SHADOWING' },
        null,
        null,
        { status: 'IN_PROGRESS', phase: 'copy' },
        null,
        null,
        { phase: 'index' },
        { phase: 'verify' },
        { phase: 'ready' },
        { phase: 'ready' },
      ];
      for (const [i, ambush] of ambushes.entries()) {
        const child = run();
        let over = false;
        void child.ended.then(() => (over = true));
        if (ambush === null) await sleep(1500 + below(2500));
        else
          await until(JSON.stringify(ambush), 30, async () => {
            const place = await placeOf(db);
            return (
              over || Object.entries(ambush).every(([key, value]) => place[key as keyof Place] === value)
            );
          });
        await sleep(below(ambush === null ? 1 : 150));
        const { status, phase } = await placeOf(db);
        child.process.kill('SIGKILL');
        seen.push(
          `${i + 1}: ${status}/${phase}${over ? ` (had ended: ${child.output.stderr.slice(-300)})` : ''}`,
        );
        await child.ended;
      }
      await complete(db, run);
      shooting.over = true;
      await shooter;
    });
    process.stdout.write(`kills: ${seen.join(', ')}; lanes shot: ${shots}\n`);
    expect(shots).toBeGreaterThan(5);
  }, 150_000);

  it('stopped and continued after another has taken over: the zombie does not write', async () => {
    await underWriters('zombie', async (db, run) => {
      const holders = async () =>
        (
          await db.pool.query<{ pid: number }>('select holder_pid as pid from foreshadow.lane order by lane')
        ).rows.map((row) => row.pid);
      let runner = run();
      await until(
        'a copy that is under way',
        40,
        async () =>
          (await placeOf(db)).phase === 'copy' &&
          ((await db.pool.query('select 1 from foreshadow.range_1 where copied > 0 limit 1')).rowCount ?? 0) >
            0,
      );
      await db.pool.query(`
        create table audit (pid int, at timestamptz default clock_timestamp());
        create function audit() returns trigger language plpgsql as
          'begin insert into public.audit (pid) values (pg_backend_pid()); return null; end';
        create trigger audit after insert or update or delete on foreshadow.t for each row execute function audit()`);
      for (let round = 0; round < 2; round++) {
        const zombies = await holders();
        await sleep(below(100));
        runner.process.kill('SIGSTOP');
        const successor = run('--take-over');
        await until('a successor', 30, async () =>
          (await holders()).every((pid) => pid !== null && !zombies.includes(pid)),
        );
        const { rows: now } = await db.pool.query<{ at: string }>('select clock_timestamp()::text as at');
        runner.process.kill('SIGCONT');
        const code = await Promise.race([runner.ended, sleep(8000).then(() => 'still alive')]);
        expect(code, runner.output.stderr).toBe(5);
        const { rows: written } = await db.pool.query(
          'select count(*)::int as n from audit where pid = any ($1) and at > $2',
          [zombies, now[0]?.at],
        );
        expect(written).toEqual([{ n: 0 }]);
        runner = successor;
      }
      const { rows: written } = await db.pool.query(
        'select count(*)::int as n from audit where pid = any ($1)',
        [await holders()],
      );
      expect(written[0].n, 'the successor does write').toBeGreaterThan(0);
      await until('a chance to take the trigger off', 10, async () =>
        db.pool.query(`set lock_timeout = 100; drop trigger audit on foreshadow.t`).then(
          () => true,
          () => false,
        ),
      );
      expect(await runner.ended, runner.output.stderr).toBe(0);
    });
  }, 100_000);
});
