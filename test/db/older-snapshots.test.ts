import pg from 'pg';
import { expect, test, vi } from 'vitest';
import { startEmbedded } from '../../src/db/embedded.ts';
import { gaveUpWaiting, instantNow, OlderSnapshots } from '../../src/migration/cutover/older-snapshots.ts';
import { boundStamp } from '../../src/migration/cutover/relatives.ts';
import { afterFile } from '../support/database.ts';
import { migrationDatabase } from '../support/migrations.ts';

const repeatable = 'begin isolation level repeatable read';
const pidOf = (client: unknown) => (client as { processID: number }).processID;

async function sessions() {
  const db = await migrationDatabase(
    'create table s (id int primary key, v int); insert into s values (1, 1)',
  );
  const ours = await db.client();
  const { rows } = await ours.query<{ oid: number }>(`select 's'::regclass::oid::int as oid`);
  const relations = [rows[0]?.oid as number];
  return { db, ours, relations };
}

test('only writers that queue are answered by the guard: who queues for another lock is waited for', async () => {
  const { db, ours, relations } = await sessions();
  const [writer, locker, holder] = await Promise.all([db.client(), db.client(), db.client()]);
  for (const old of [writer, locker]) await old.query(`${repeatable}; select 1 from pg_class limit 1`);
  await holder.query('begin; lock table s in exclusive mode');
  const snapshots = new OlderSnapshots(relations, await instantNow(ours), 'any');
  const seenWith = (left: number, answered: number) =>
    vi.waitFor(
      async () => {
        const seen = await snapshots.look(ours);
        expect([seen.left.length, seen.answered.length]).toEqual([left, answered]);
        return seen;
      },
      { timeout: 10_000, interval: 5 },
    );
  const writing = writer.query('update s set v = 2');
  await seenWith(1, 1); // the other has not asked yet
  const locking = locker.query('lock table s in share mode');
  await vi.waitFor(async () => expect((await snapshots.look(ours)).left[0]?.queued).toBe(true), 10_000);
  const seen = await seenWith(1, 1);
  expect(seen.left.map(({ pid }) => pid)).toEqual([pidOf(locker)]);
  expect(seen.answered.map(({ pid }) => pid)).toEqual([pidOf(writer)]);
  expect(await gaveUpWaiting(ours, relations, seen.answered)).toEqual([]);
  await holder.query('commit');
  await writing;
  expect(await gaveUpWaiting(ours, relations, seen.answered), 'it waits no longer').toEqual([pidOf(writer)]);
  await writer.query('commit');
  await locking;
});

test('where others go on, those of the first look are waited for, and nobody who comes later', async () => {
  const { db, ours, relations } = await sessions();
  const [bystander, first, second] = await Promise.all([db.client(), db.client(), db.client()]);
  await bystander.query('begin; select pg_current_xact_id()');
  await db.pool.query('update s set v = 2'); // a later one that is over: by age alone snapshots do not tell any more
  const snapshots = new OlderSnapshots(relations, await instantNow(ours));
  await first.query(`${repeatable}; select 1 from s`);
  const pids = async () => (await snapshots.look(ours)).left.map(({ pid }) => pid);
  // it might have imported the snapshot of an older one that went just now
  expect(await pids()).toEqual([pidOf(first)]);
  await second.query(`${repeatable}; select 1 from s`);
  expect(await pids()).toEqual([pidOf(first)]);
  await first.query('commit');
  expect(await pids()).toEqual([]);
  await Promise.all([second, bystander].map((client) => client.query('commit')));
});

test('a snapshot that a replication connection has exported counts', async () => {
  const server = await startEmbedded({ settings: { wal_level: 'logical' } });
  afterFile(() => server.stop());
  const connect = async (more: object) => {
    const client = new pg.Client({ connectionString: server.url, ...more });
    await client.connect();
    afterFile(() => client.end());
    return client;
  };
  const [ours, walsender] = await Promise.all([connect({}), connect({ replication: 'database' })]);
  await walsender.query('CREATE_REPLICATION_SLOT x TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT');
  const { left } = await new OlderSnapshots([], await instantNow(ours)).look(ours);
  expect(left.map(({ pid }) => pid)).toEqual([pidOf(walsender)]);
  await walsender.query('IDENTIFY_SYSTEM'); // the next command ends the export
  expect((await new OlderSnapshots([], await instantNow(ours)).look(ours)).left).toEqual([]);
});

test('the stamp of what is bound to a table shows a function that is replaced', async () => {
  const { ours, relations } = await sessions();
  const define = (more: number) =>
    ours.query(
      `create or replace function f() returns int language sql begin atomic select v + ${more} from s; end`,
    );
  await define(1);
  const before = await boundStamp(ours, relations[0] as number);
  expect(await boundStamp(ours, relations[0] as number)).toBe(before);
  await define(2);
  expect(await boundStamp(ours, relations[0] as number)).not.toBe(before);
});
