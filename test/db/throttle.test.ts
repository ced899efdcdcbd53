import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { run as foreshadow } from '../../src/cli/program.ts';
import { statusText } from '../../src/cli/status.ts';
import { pauseMigration, resumeMigration } from '../../src/migration/orders.ts';
import { describeMigration } from '../../src/migration/status.ts';
import { turnKnobs } from '../../src/migration/throttle/knobs.store.ts';
import { look, readable, serverSettings } from '../../src/migration/throttle/measure.queries.ts';
import { chooseProbe, timeProbe } from '../../src/migration/throttle/probe.queries.ts';
import type { Lanes } from '../../src/sync/lanes.ts';
import { fullSpeed } from '../../src/sync/pacing.ts';
import { type Rig, rig } from '../chaos/rig.ts';
import { copying, slowTable as setup, until } from '../support/copying.ts';
import { testDatabase } from '../support/database.ts';
import { failureOf } from '../support/migrations.ts';
import { describeOlder, olderServer } from '../support/older-server.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

/** Nothing is copied any more: all lanes have taken a turn at the new pace, and then some. */
async function standsStill(lanes: Lanes): Promise<boolean> {
  await until(() => lanes.pace.share === 0 && lanes.paceKept);
  const before = lanes.totals.copied;
  await sleep(150);
  return lanes.totals.copied === before;
}

describe('what an operator turns reaches the lanes', () => {
  it('a limit of rows a second, the time of a chunk, and "none"', async () => {
    const { m, lanes, throttle } = await copying();
    expect(lanes.pace.rowsPerSecond).toBe(400);
    expect(throttle.turnedAt, 'never').toBe(Number.NEGATIVE_INFINITY);
    // shorter while it is held back, and shortest while it stands to be measured
    await until(() => lanes.pace.chunkMs > 10);
    await turnKnobs(m.db.pool, 'm', { rowsPerSecond: 2, chunkTime: '10ms' }, 'test');
    await until(() => lanes.pace.rowsPerSecond === 2 && lanes.paceKept);
    expect(lanes.pace.chunkMs).toBeLessThanOrEqual(10);
    expect(throttle.turnedAt).toBeGreaterThan(Date.now() / 1000 - 60);
    const before = lanes.totals.copied;
    await sleep(300);
    expect(lanes.totals.copied - before, 'two lanes, a row each').toBeLessThanOrEqual(2);
    await turnKnobs(m.db.pool, 'm', { rowsPerSecond: 'none' }, 'test');
    await until(() => m.copied());
    await turnKnobs(m.db.pool, 'm', { rowsPerSecond: null, chunkTime: null }, 'test');
    await until(() => lanes.pace.rowsPerSecond === 400 && lanes.pace.chunkMs > 10);
    const events = await m.sql(
      `select detail from foreshadow.migration_event where kind = 'knobs' order by id`,
    );
    expect(events[1]).toEqual({
      detail: {
        by: 'test',
        change: { rowsPerSecond: 'none' },
        before: { rowsPerSecond: 2, chunkTime: '10ms' },
      },
    });
  });

  it('a pause stops the copy at once, whatever the process is at, and goes on with it', async () => {
    const { m, lanes } = await copying();
    await pauseMigration(m.db.pool, 'm', 'test');
    expect(await standsStill(lanes)).toBe(true);
    expect(await m.copied()).toBe(false);
    await turnKnobs(m.db.pool, 'm', { rowsPerSecond: 'none' }, 'test');
    await resumeMigration(m.db.pool, 'm');
    await until(() => m.copied());
  });

  it('knobs that are wrong change nothing', async () => {
    const { m } = await copying();
    for (const [change, says] of [
      [{ maxLag: 'soon' }, /maxLag/],
      [{ maxActive: 0.5 }, /maxActive/],
      [{ speed: 3 }, /throttle/],
    ] as const) {
      const error = await failureOf(turnKnobs(m.db.pool, 'm', change as object, 'test'));
      expect(error).toMatchObject({ code: 'USAGE', message: expect.stringMatching(says) });
    }
    expect((await m.reload()).throttle).toEqual({});
  });
});

describe('what others do holds the copy back', () => {
  it('sessions at work: held with the reason, in status, events and for whoever watches; then on to the end', async () => {
    const { m, lanes, throttle, said } = await copying({ throttle: { maxActive: 1 } });
    const busy = await Promise.all([m.db.client(), m.db.client()]);
    const sleeping = busy.map((client) => client.query('select pg_sleep(60)').catch(() => undefined));
    await until(() => throttle.drive.share === 0);
    expect(await standsStill(lanes)).toBe(true);
    const reason = /^held: \d active sessions, the limit is 1$/;
    expect(throttle.state).toMatchObject({
      share: 0,
      source: 'sessions',
      reason: expect.stringMatching(reason),
    });
    await until(() => reason.test(said.at(-1) ?? '')); // it is told a moment after it acts
    await m.sql(`update foreshadow.migration_status set throttle_state = $1`, [throttle.state]);
    const status = await describeMigration(m.db.ctx.pool, 'm');
    expect(status.throttle).toMatchObject({ share: 0, source: 'sessions', knobs: {} });
    expect(statusText(status)).toMatch(/throttle +held: \d active sessions/);
    await turnKnobs(m.db.pool, 'm', { maxActive: 'none', rowsPerSecond: 'none' }, 'test');
    await until(() => m.copied());
    await m.sql(
      `select pg_cancel_backend(pid) from pg_stat_activity where query = 'select pg_sleep(60)' and pid <> pg_backend_pid()`,
    );
    await Promise.all(sleeping);
    const [event] = await m.sql<{ detail: { source: string } }>(
      `select detail from foreshadow.migration_event where kind = 'throttle' order by id limit 1`,
    );
    expect(event?.detail).toMatchObject({
      source: 'sessions',
      message: expect.stringMatching(/active sessions/),
    });
  });

  it('a probe that takes longer than without the copy: slowed with both figures, never stopped', async () => {
    const { m, lanes, throttle } = await copying({
      copy: { rowsPerSecond: 1000, chunkRows: 20 },
      throttle: { probe: 'select pg_sleep(s) from public.slowness', maxLatency: 2 },
    });
    expect(throttle.state.baseline_ms).toBeGreaterThanOrEqual(1);
    await m.sql('update public.slowness set s = 0.05');
    await until(() => throttle.drive.source === 'latency' && throttle.drive.share < 0.5);
    expect(throttle.state.reason).toMatch(
      /^slowed to \d+ %: the probe takes \d+\.\d ms, \d+\.\d ms without the copy$/,
    );
    const before = lanes.totals.copied;
    await until(() => lanes.totals.copied > before);
    await m.sql('update public.slowness set s = 0');
    const slowest = throttle.drive.share;
    await until(() => !throttle.drive.held && throttle.drive.share > slowest);
    expect(throttle.state.reason).toMatch(/and rising$/);
  });
});

describe('the measurements', () => {
  const allNames = ['standbys', 'slots', 'active', 'wal', 'forced'];

  async function everything(m: Rig): Promise<void> {
    const client = await m.db.ctx.connect('throttle');
    cleanups.push(() => client.end());
    const server = await serverSettings(client);
    expect(server).toMatchObject({ maxConnections: expect.any(Number), slotKeep: null });
    expect(server.walPerCheckpoint).toBeGreaterThan(1e8);
    const { names, unread } = await readable(client, server.version);
    expect([names, unread]).toEqual([allNames, []]);
    const [busy, ours] = [await m.db.client(), await m.db.client({ application_name: 'foreshadow lane' })];
    const sleeping = [busy, ours].map((each) => each.query('select pg_sleep(0.5)'));
    await sleep(100);
    const { looked, wishes } = await look(client, m.migration.id, names, server.version);
    await Promise.all(sleeping);
    expect(looked).toMatchObject({ standbys: [], slots: [], active: expect.any(Number) });
    expect(looked.active, 'at least the one, and not ours').toBeGreaterThanOrEqual(1);
    expect(wishes).toEqual({ status: 'SHADOWING', knobs: {} });
    await m.sql('create table many as select generate_series(1, 50000) as i; checkpoint');
    const lookAgain = async () => (await look(client, m.migration.id, names, server.version)).looked;
    expect(((await lookAgain()).wal ?? 0) - (looked.wal ?? 0)).toBeGreaterThan(1e6);
    // the checkpointer reports on itself when it comes to it
    await until(async () => ((await lookAgain()).forced ?? 0) > (looked.forced ?? 0));

    const probe = await chooseProbe(client, m.plan, undefined);
    expect(probe?.values.length).toBeGreaterThan(1);
    const times = await timeProbe(client, probe!, 3, 1);
    expect(times.length).toBe(3);
    expect(await timeProbe(client, { sql: 'select pg_sleep(0.02)', values: [] }, 1, 0)).toEqual([
      expect.toSatisfy((ms: number) => ms >= 20),
    ]);
  }
  const options = {
    setup,
    file: { map: { id: 'id::bigint' } },
    expected: 'select id::bigint, v from s',
  };

  it('of this server: all in one look; our own sessions do not count', async () => {
    const m = await (await rig(options)).begin();
    await everything(m);
  });

  describeOlder('an older server', () => {
    it('says the same with other words', async () => {
      const on = await olderServer();
      const m = await (await rig({ ...options, on })).begin();
      await everything(m);
    });
  });

  it('a slot: what it keeps, and what it may still keep', async () => {
    const m = await (await rig(options)).begin();
    const slot = `slot_${m.db.name.slice(-12)}`;
    await m.sql(`select pg_create_physical_replication_slot('${slot}', true)`);
    const { version } = await serverSettings(m.db.pool);
    const { looked } = await look(m.db.pool, m.migration.id, allNames, version);
    await m.sql(`select pg_drop_replication_slot('${slot}')`);
    expect(looked.slots?.find(({ name }) => name === slot)).toMatchObject({
      retained: expect.any(Number),
      safe: null,
    });
  });

  it('what a role may not read is left out, and said', async () => {
    const { pool, name, client } = await testDatabase();
    const role = `throttled_${name.slice(-12)}`;
    await pool.query(`create role ${role} login password 'x'; grant connect on database ${name} to ${role}`);
    cleanups.push(() => pool.query(`drop owned by ${role}; drop role ${role}`));
    const theirs = await client();
    await theirs.query(`set role ${role}`);
    const { version } = await serverSettings(theirs);
    const { names, unread } = await readable(theirs, version);
    expect(unread).toEqual(['active sessions']);
    expect(names).not.toContain('active');
    await theirs.end();
  });
});

it('the command line turns knobs, and says what wins', async () => {
  const { m } = await copying();
  const base = ['node', 'foreshadow', '--database-url', m.db.url, 'throttle', 'm'];
  expect(
    await foreshadow([...base, '--rows-per-second', '7', '--max-lag', '5s', '--max-active', 'auto']),
  ).toEqual({
    exitCode: 0,
  });
  expect((await m.reload()).throttle).toEqual({ rowsPerSecond: 7, maxLag: '5s', maxActive: 'auto' });
  await foreshadow([...base, '--rows-per-second', 'file', '--max-lag', 'none']);
  expect((await m.reload()).throttle).toEqual({ maxLag: 'none', maxActive: 'auto' });
  expect(await foreshadow([...base, '--max-active', 'few'])).toEqual({ exitCode: 2 });
  expect(await foreshadow(base)).toEqual({ exitCode: 2 });
});

it('a pace that is held stays held however long a lane lives, and one that is let go acts at once', async () => {
  const { m, lanes, throttle } = await copying();
  await throttle.stop();
  lanes.keep({ ...fullSpeed, share: 0 });
  expect(await standsStill(lanes)).toBe(true);
  await m.sql('update s set v = -v where id <= 50');
  await until(async () => (await m.sql(`select 1 from ${m.plan.names.keyLog} limit 1`)).length === 0);
  expect(await m.copied(), 'changes are brought all the same').toBe(false);
  lanes.keep(fullSpeed);
  await until(() => m.copied());
});
