import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { briefStop } from '../../src/migration/cutover/attempt.ts';
import { type Rig, type RigOptions, rig } from '../chaos/rig.ts';

const made: Rig[] = [];
afterEach(async () => {
  for (const each of made.splice(0)) await each.close();
});
const declaring = (isolation: 'any' | 'read-committed') => ({
  setup: `create table s (id int primary key, v int);
          insert into s select g, g from generate_series(1, 500) g;
          create table t (id bigint primary key, v numeric(12, 2));
          create function v_of(k int) returns numeric language plpgsql stable as
            'begin return (select v from s where id = k); end';
          create function slow_v_of(k int) returns numeric language plpgsql stable as
            'begin perform pg_sleep(0.3); return (select v from s where id = k); end';`,
  file: { map: { id: 'id::bigint', v: 'v::numeric(12, 2)' }, cutover: { isolation } },
  expected: 'select id::bigint, v::numeric(12,2) from s',
}) as unknown as RigOptions;

async function ready(isolation: 'any' | 'read-committed'): Promise<Rig> {
  const m = await (await rig(declaring(isolation))).begin();
  made.push(m);
  await m.claim();
  await m.cutOverReads();
  await m.settle();
  await m.finish();
  await m.settle();
  return m;
}

it('a statement whose STABLE function reads s, under way during the brief stop', async () => {
  const m = await ready('read-committed');
  const app = await m.db.client();
  await m.sql('insert into s values (9001, 7); update s set v = 77 where id = 1');
  const answer = app.query('select slow_v_of(9001) as inserted, slow_v_of(1) as updated');
  await sleep(60);
  const client = await m.db.ctx.connect('cutover');
  await briefStop(client, await m.reload(), m.db.ctx.pool, 1);
  await client.end();
  console.log('slow stable function', (await answer).rows, 'afterwards', (await app.query('select v_of(9001), v_of(1)')).rows);
});

it('a statement whose STABLE function queues for s behind the brief stop', async () => {
  const m = await ready('read-committed');
  const [app, holder] = await Promise.all([m.db.client(), m.db.client()]);
  await m.sql('insert into s values (9001, 7); update s set v = 77 where id = 1');
  await holder.query('begin; select 1 from s limit 1');
  const client = await m.db.ctx.connect('cutover');
  const swap = briefStop(client, await m.reload(), m.db.ctx.pool, 1);
  while (!(await m.sql(`select 1 from pg_locks where relation = 's'::regclass and mode = 'AccessExclusiveLock' and not granted`)).length) await sleep(1);
  const answer = app.query('select v_of(9001) as inserted, v_of(1) as updated');
  const plain = m.db.pool.query('select v from s where id in (1, 9001) order by id');
  await sleep(15);
  await holder.query('commit');
  await swap;
  await client.end();
  console.log('queued stable function', (await answer).rows, 'plain', (await plain).rows);
});

it('any isolation: REPEATABLE READ, savepoint, guard 40001, then read', async () => {
  for (const how of ['guard', 'lock_timeout'] as const) {
    const m = await ready('any');
    const [app, other] = await Promise.all([m.db.client(), m.db.client()]);
    await m.sql('insert into s values (9001, 7); update s set v = 77 where id = 1');
    // a writer in READ COMMITTED whose lock lets the repeatable reader take its snapshot before the drain
    await other.query('begin; update s set v = v where id = 3');
    const cutover = m.cutOverWrites({ maxAttempts: 300 });
    while (!(await m.sql(`select 1 from pg_locks where relation = 's'::regclass and mode = 'ExclusiveLock' and not granted`)).length) await sleep(1);
    await app.query(`begin isolation level repeatable read; select 1 from pg_class limit 1; savepoint a; ${how === 'guard' ? '' : "set local lock_timeout = '20ms';"}`);
    const write = app.query('update s set v = 0 where id = 4').catch((error) => error.code);
    await sleep(5);
    await other.query('commit');
    let stop = false;
    const lanes = (async () => { await sleep(how === 'guard' ? 0 : 0); while (!stop) { for (const lane of m.lanes) if (typeof (await lane.tick()) === 'string') return; await sleep(1); } })().catch(() => {});
    const code = await write;
    await app.query('rollback to savepoint a');
    if (how === 'lock_timeout') await cutover;
    const { rows } = await app.query('select id::int, v::text from s where id in (1, 9001) order by id');
    console.log(how, 'write answered', code, 'then read', rows);
    await app.query('rollback');
    stop = true;
    await cutover; await lanes;
  }
  expect(1).toBe(1);
});
