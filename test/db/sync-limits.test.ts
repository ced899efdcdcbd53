import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { briefStop } from '../../src/migration/cutover/attempt.ts';
import { statementSnapshotReaders } from '../../src/migration/cutover/blockers.queries.ts';
import { writeCutover } from '../../src/migration/cutover/exchange.ts';
import { type Rig, type RigOptions, rig } from '../chaos/rig.ts';

/** What the state explorer found (docs/model.md), on a real server. */
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

const functionReading = `create function value_of(k int) returns int language plpgsql stable as
  'begin return (select v from s where id = k); end'`;

/** Copied and finished; then two changes that the lanes have not brought to T: 9001 inserted, 1 updated. */
async function ready(isolation: 'any' | 'read-committed'): Promise<Rig> {
  const options = {
    setup: `create table s (id int primary key, v int);
            insert into s select g, g from generate_series(1, 500) g;
            create table t (id bigint primary key, v int);
            ${functionReading}`,
    file: { map: { id: 'id::bigint' }, cutover: { isolation } },
    expected: 'select id::bigint, v from s',
  } as RigOptions;
  const m = await (await rig(options)).begin();
  cleanups.push(() => m.close());
  await m.claim();
  await m.cutOverReads();
  await m.settle();
  await m.finish();
  await m.settle();
  await m.sql('insert into s values (9001, 7); update s set v = 77 where id = 1');
  return m;
}

const lockOf = (mode: string, granted: boolean) =>
  `select 1 from pg_locks where relation = 's'::regclass and mode = '${mode}' and granted = ${granted}`;
async function until(m: Rig, query: string): Promise<void> {
  while (!(await m.sql(query)).length) await sleep(1);
}

/** Lanes go to work by themselves. */
function work(m: Rig): void {
  const stop = new AbortController();
  const working = m.lanes.map((lane) => lane.run(stop.signal));
  cleanups.push(() => {
    stop.abort();
    return Promise.all(working);
  });
}

const twoRows = 'select id::int, v from s where id in (1, 9001) order by id';
const changed = [
  { id: 1, v: 77 },
  { id: 9001, v: 7 },
];

describe('the brief stop', () => {
  it('is not for tables that functions with the snapshot of their statement may read', async () => {
    const m = await ready('read-committed');
    const holder = await m.db.client();
    await holder.query('begin; select 1 from s limit 1'); // defeats the gentle way
    work(m);
    const refusal = await m.cutOverWrites({ maxAttempts: 6 }).catch((error: Error) => error.message);
    expect(refusal).toMatch(/CUTOVER|attempts/);
    expect(refusal).toContain('not VOLATILE and may read the table: public.value_of(integer)');
    await holder.query('commit');
  });

  it('nor for tables whose names such a function may put together itself', async () => {
    const m = await ready('read-committed');
    const rows = await m.sql<{ oid: number }>(
      `create table apart_from_all (id int);
       create function dynamic(name text) returns bigint language plpgsql stable as
         'declare n bigint; begin EXECUTE ''select count(*) from '' || name into n; return n; end';
       create function executed() returns bigint language plpgsql stable as 'begin return 1; end -- executed';
       select 'apart_from_all'::regclass::oid::int as oid`,
    );
    const client = await m.db.client();
    const plan = { ...m.plan, sourceOid: rows.at(-1)?.oid as number };
    expect(await statementSnapshotReaders(client, plan)).toEqual(['dynamic(text)']);
  });
});

describe('the brief stop and a transaction that is not in READ COMMITTED after all', () => {
  const oldSnapshot = 'begin isolation level repeatable read; select 1 from pg_class limit 1';
  const stopNow = async (m: Rig) => {
    const client = await m.db.client();
    const outcome = briefStop(client, writeCutover(await m.reload()), m.db.pool, 1);
    return outcome.then(
      () => 'swapped',
      async (error: Error) => {
        await client.query('rollback');
        return error.message;
      },
    );
  };

  it('waits for it', async () => {
    const m = await ready('read-committed');
    const old = await m.db.client();
    await old.query(oldSnapshot);
    expect(await stopNow(m)).toContain('keep a snapshot, though cutover.isolation says read-committed');
    expect((await m.reload()).status).toBe('IN_PROGRESS');
    await old.query('commit');
    expect(await stopNow(m)).toBe('swapped');
    expect((await m.sql(twoRows)) as unknown).toEqual(changed);
  });

  it('gives up the swap for one that begins while it waits for its locks', async () => {
    const m = await ready('read-committed');
    const [holder, old] = await Promise.all([m.db.client(), m.db.client()]);
    await holder.query('begin; select 1 from public.t limit 1');
    const stopped = stopNow(m);
    await until(
      m,
      `select 1 from pg_locks where relation = 'public.t'::regclass and mode = 'AccessExclusiveLock' and not granted`,
    );
    await old.query(oldSnapshot);
    await holder.query('commit');
    expect(await stopped).toContain('keep a snapshot, though cutover.isolation says read-committed');
    // by the name of the target it still reads what the source has, by its own snapshot
    const { rows } = await old.query('select id::int, v from t where id in (1, 9001) order by id');
    expect(rows).toEqual(changed);
    await old.query('commit');
    expect(await stopNow(m)).toBe('swapped');
  });
});

describe('the gentle cutover', () => {
  it('a savepoint does not survive the answer of the guard', async () => {
    const m = await ready('any');
    const [app, other] = await Promise.all([m.db.client(), m.db.client()]);
    await other.query('begin; update s set v = v where id = 3');
    const swap = m.cutOverWrites({ maxAttempts: 300 });
    await until(m, lockOf('ExclusiveLock', false));
    // its snapshot is from before the drain, and it queues for s
    await app.query(
      'begin isolation level repeatable read; select 1 from pg_class limit 1; savepoint before',
    );
    const write = app.query('update s set v = 0 where id = 4').catch((error: { code: string }) => error.code);
    await until(m, lockOf('RowExclusiveLock', false));
    await other.query('commit');
    work(m);
    await write;
    await swap;
    const again = await app.query('rollback to savepoint before').catch((error: Error) => error.message);
    expect(again).toMatch(/not queryable|terminat/);
    expect((await m.sql(twoRows)) as unknown).toEqual(changed);
  });

  it.each([
    ['', ''],
    [', also where a transaction of before both goes on', 'begin; select pg_current_xact_id()'],
  ])('a young transaction that imports an old snapshot is waited for%s', async (_, before) => {
    const m = await ready('any');
    const [elder, young, bystander] = await Promise.all([m.db.client(), m.db.client(), m.db.client()]);
    await bystander.query(before); // no snapshot reaches beyond it: by that, old ones and new ones look alike
    await elder.query('begin isolation level repeatable read');
    const { rows } = await elder.query<{ snapshot: string }>('select pg_export_snapshot() as snapshot');
    work(m);
    const swap = m.cutOverWrites({ maxAttempts: 300 });
    await until(m, `${lockOf('ExclusiveLock', true)} and not exists (select 1 from ${m.plan.names.keyLog})`);
    await sleep(20); // it has seen the log empty, and waits for the elder
    await young.query(
      `begin isolation level repeatable read; set transaction snapshot '${rows[0]?.snapshot}'`,
    );
    await elder.query('commit');
    await Promise.race([swap, sleep(3000)]);
    expect((await young.query(twoRows)).rows).toEqual(changed);
    await young.query('commit');
    expect((await swap).status).toBe('COMPLETED');
  });

  it('is not held up by readers that are new, though a transaction of before them goes on', async () => {
    const m = await ready('any');
    const [bystander, ...readers] = await Promise.all(Array.from({ length: 5 }, () => m.db.client()));
    await bystander?.query('begin; select pg_current_xact_id()');
    work(m);
    let done = false;
    const reading = readers.map(async (reader) => {
      while (!done) await reader.query(`select count(*) from ${m.plan.names.overlay}`);
    });
    const { status } = await m.cutOverWrites({ maxAttempts: 10 });
    done = true;
    await Promise.all(reading);
    expect(status).toBe('COMPLETED');
  });
});
