import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { createContext } from '../../src/context.ts';
import { systemClock } from '../../src/core/clock.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import { Blocked, writeCutover } from '../../src/migration/cutover/exchange.ts';
import { endSession, standingInTheWay } from '../../src/migration/cutover/terminate.queries.ts';
import { Terminator } from '../../src/migration/cutover/terminate.ts';
import { settleTarget } from '../../src/migration/finish-target.ts';
import { rollBackMigration, startMigration } from '../../src/pipeline.ts';
import { atTheSwap, type Rig } from '../chaos/rig.ts';
import { afterFile } from '../support/database.ts';
import { failureOf, migrationDatabase, migrationOf } from '../support/migrations.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

const options = {
  setup: `create table parent (id int primary key); insert into parent values (1);
          create table s (id int primary key, v int, tag text, p int references parent);
          insert into s select g, g, 'secret ' || g from generate_series(1, 300) g;
          create view seen as select id, v from s;
          create table elsewhere (n int); insert into elsewhere values (1);
          create table t (id bigint primary key, v int, tag text, p int);`,
  file: { map: { id: 'id::bigint' } },
  expected: 'select id::bigint, v, tag, p from s',
};

const pidOf = (client: Client) => (client as unknown as { processID: number }).processID;
const terminated = (m: Rig) =>
  m.sql<{ detail: Record<string, unknown> }>(
    `select detail from foreshadow.migration_event where kind = 'terminated' order by id`,
  );

/** A session with this begun in it. */
async function holding(m: Rig, sql: string): Promise<Client> {
  const client = await m.db.client();
  await client.query(sql);
  return client;
}
const alive = (client: Client) =>
  client.query('select 1').then(
    () => true,
    () => false,
  );

describe('sessions in the way of the write cutover', () => {
  it('are only named, unless somebody wants them ended', async () => {
    const { m } = await atTheSwap(options, cleanups);
    const holder = await holding(m, `begin; update s set v = 0 where tag = 'secret 1'`);
    await sleep(1100); // a long transaction from here on
    const refused = await failureOf(m.cutOverWrites({ maxAttempts: 8 }));
    expect(refused).toMatchObject({ code: 'CUTOVER_BLOCKED' });
    expect(refused.message).toContain(`pid ${pidOf(holder)} `);
    expect(await alive(holder)).toBe(true);
    expect(await terminated(m)).toEqual([]);
    await holder.query('rollback');
  });

  it.each([
    [
      'a writer',
      `begin; update s set v = 0 where tag = 'secret 1'`,
      'begin; update s set v = ? where tag = ?',
    ],
    ['a reader', `begin; select from s where tag = 'secret 2'`, 'begin; select from s where tag = ?'],
    [
      'a snapshot of before the swap',
      'begin isolation level repeatable read; select n + 17 from elsewhere',
      'begin isolation level repeatable read; select n + ? from elsewhere',
    ],
    [
      'a writer of a table bound to it',
      'begin; update parent set id = id',
      'begin; update parent set id = id',
    ],
    ['somebody who wants it alone', 'begin; lock table s', 'begin; lock table s'],
  ])(
    'are ended when told to: %s',
    async (_what, sql, query) => {
      const { m, lanes } = await atTheSwap(options, cleanups);
      const holder = await holding(m, sql);
      // open for as long, and in nobody's way
      const idle = await holding(m, 'begin; select n from elsewhere');
      let writing = true;
      // always at S, never for long
      const busy = await m.db.client();
      const writes = (async () => {
        while (writing) {
          const failed = await busy.query('update s set v = v + 1 where id = 5').catch((error) => error);
          if (failed instanceof Error) expect(failed.message).not.toMatch(/terminat/);
          await sleep(5);
        }
      })();
      const { pid, user } = (
        await m.sql<{ pid: number; user: string }>(
          'select pid, usename as user from pg_stat_activity where pid = $1',
          [pidOf(holder)],
        )
      )[0]!;
      const said: string[] = [];
      const done = await m.cutOverWrites({
        terminateFor: () => 'anna',
        onWait: async (reason) => void said.push(reason),
      });
      writing = false;
      await writes;
      await lanes.stop();
      expect(done.status).toBe('COMPLETED');
      expect(await alive(holder)).toBe(false);
      expect([await alive(idle), await alive(busy)]).toEqual([true, true]);
      const [event, ...more] = (await terminated(m)).map(({ detail }) => detail);
      expect(more).toEqual([]);
      expect(event).toMatchObject({
        pid,
        user,
        query,
        state: 'idle in transaction',
        by: 'anna',
        during: 'cutover',
      });
      expect(event?.age_s, 'patience').toBeGreaterThan(5);
      expect(event?.attempts).toBeGreaterThanOrEqual(3);
      expect(said.at(-1)).toContain(event?.message);
      await idle.query('rollback');
    },
    90_000,
  );

  it('stay when this role may not end them, and what it lacks is said', async () => {
    const { m, lanes } = await atTheSwap(options, cleanups);
    const name = m.db.name;
    await m.sql(`create role ended_${name} login password 'x'; create role ending_${name} login password 'x';
      grant select, update on s to ended_${name}; grant usage on schema foreshadow to ending_${name};
      grant select, insert, update on all tables in schema foreshadow to ending_${name}`);
    const as = (role: string) => {
      const url = new URL(m.db.url);
      url.username = `${role}_${name}`;
      url.password = 'x';
      return url.href;
    };
    const ctx = await createContext({ databaseUrl: as('ending'), modelsDir: '/nowhere', logLevel: 'silent' });
    const holder = new Client({ connectionString: as('ended') });
    holder.on('error', () => {});
    await holder.connect();
    cleanups.push(async () => {
      await holder.end().catch(() => {});
      await ctx.close();
      for (const role of ['ended', 'ending'])
        await m.sql(`drop owned by ${role}_${name}; drop role ${role}_${name}`);
    });
    await holder.query('begin; update s set v = 0 where id = 1');
    const superusers = await holding(m, 'begin; update s set v = 0 where id = 2');
    let at = 0;
    const clock = { ...systemClock, now: () => at };
    const blocked = (client: Client) =>
      new Blocked('', [{ pid: pidOf(client), gid: null, who: '', age_s: 9, state: '', query: '' }]);
    const terminator = new Terminator(ctx.pool, clock, writeCutover(m.migration));
    const look = (client: Client) => terminator.afterFailed(blocked(client), 'anna');

    expect(await look(holder), 'who cannot be seen is not ended').toBe(
      `; pid ${pidOf(holder)} is not ended, as this role may not see its transaction: grant pg_read_all_stats to ending_${name}`,
    );
    await m.sql(`grant pg_read_all_stats to ending_${name}`);
    expect([await look(holder), await look(holder)]).toEqual(['', '']);
    at = 6;
    expect(await look(holder)).toBe(
      `; the session of pid ${pidOf(holder)} (ended_${name}) is not ended, for want of a right: grant pg_signal_backend to ending_${name}`,
    );
    expect(await alive(holder)).toBe(true);
    await m.sql(`grant pg_signal_backend to ending_${name}`);
    for (let i = 0; i < 3; i++) expect(await look(superusers)).toBe('');
    await superusers.query('rollback; begin; update s set v = 0 where id = 2');
    at = 12;
    for (let i = 0; i < 3; i++) expect(await look(superusers), 'another transaction counts anew').toBe('');
    at = 18;
    expect(await look(superusers)).toContain(`only a superuser may end a superuser's`);
    expect(await look(holder)).toContain('; ended the session of pid ');
    await expect.poll(() => alive(holder)).toBe(false);
    expect((await terminated(m)).map(({ detail }) => detail.pid)).toEqual([pidOf(holder)]);
    await superusers.query('rollback');
    await lanes.stop();
  });
});

it('a rollback ends whom it is told to', async () => {
  const { m, lanes } = await atTheSwap(options, cleanups);
  await m.cutOverWrites();
  await lanes.stop();
  await settleTarget(m.db.ctx.pool, m.migration, systemClock, async () => true);
  await m.sql('update foreshadow.migration_status set settled_at = now()');
  const holder = await holding(m, 'begin; select v from s where id = 7');
  await rollBackMigration(m.db.ctx, 'm', { attempts: 200, terminateFor: 'bert' });
  expect((await m.reload()).status).toBe('ROLLED_BACK');
  expect(await alive(holder)).toBe(false);
  expect((await terminated(m)).map(({ detail }) => detail)).toMatchObject([
    { pid: pidOf(holder), during: 'rollback', by: 'bert' },
  ]);
}, 60_000);

it('who has committed and waits for a standby is not in the way, and not ended', async () => {
  const server = await startEmbedded({
    settings: { synchronous_standby_names: 'nobody', synchronous_commit: 'local' },
  });
  afterFile(() => server.stop());
  const db = await migrationDatabase(options.setup, server);
  const { id, plan } = await startMigration(db.ctx, migrationOf(options.file));
  const inTheWay = () => standingInTheWay(db.pool, plan, null);
  const client = await db.client();
  await client.query('set synchronous_commit = on; begin; update s set v = 0 where id = 1');
  const [standing] = await inTheWay();
  expect(standing?.pid).toBe(pidOf(client));
  const committed = client.query('commit');
  await expect
    .poll(async () => {
      const { rows } = await db.pool.query('select wait_event from pg_stat_activity where pid = $1', [
        pidOf(client),
      ]);
      return rows[0]?.wait_event;
    })
    .toBe('SyncRep');
  expect(await inTheWay()).toEqual([]);
  expect(await endSession(db.pool, id, standing!, {})).toBe(false);
  await db.pool.query('select pg_cancel_backend($1)', [pidOf(client)]); // that is all it takes to answer him
  await committed;
  expect(await alive(client)).toBe(true);
});
