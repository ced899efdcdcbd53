import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { statusText } from '../../src/cli/status.ts';
import { recordWarnings, warningsOf } from '../../src/migration/health.queries.ts';
import { describeMigration } from '../../src/migration/status.ts';
import type { PipelineEvent } from '../../src/pipeline.ts';
import { type Rig, rig } from '../chaos/rig.ts';
import { migrationOf } from '../support/migrations.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

const setup = `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 1000) g;
               create table t (id bigint primary key, v int); create table other (id int);`;

async function begun(): Promise<Rig> {
  const m = await (
    await rig({ setup, file: { map: { id: 'id::bigint' } }, expected: 'select id::bigint, v from s' })
  ).begin();
  cleanups.push(() => m.close());
  return m;
}

const events = (m: Rig) =>
  m.sql<{ detail: { kind: string; message: string } }>(
    `select detail from foreshadow.migration_event where kind = 'warning' order by id`,
  );

describe('the size of the key log', () => {
  it('is told when changes wait that nobody takes, once as an event, and no longer when they are taken', async () => {
    const m = await begun();
    const limits = { rows: 999, bytes: 2 ** 40, seconds: 60 };
    expect(await warningsOf(m.db.ctx.pool, m.migration, limits)).toEqual([]);
    await m.sql('update s set v = v + 1');
    const warning = {
      kind: 'key-log-size',
      message: expect.stringMatching(/^more than 999 changes wait in the key log \(\d+ MiB\)/),
    };
    const status = await describeMigration(m.db.ctx.pool, 'm', limits);
    expect(status.warnings).toEqual([warning]);
    expect(statusText(status)).toContain('WARNING');
    expect(await recordWarnings(m.db.ctx.pool, m.migration, limits)).toHaveLength(1);
    expect(await recordWarnings(m.db.ctx.pool, m.migration, limits)).toEqual([]);
    expect((await events(m)).map(({ detail }) => detail)).toEqual([expect.objectContaining(warning)]);
    await m.claim();
    await m.settle();
    expect((await describeMigration(m.db.ctx.pool, 'm', limits)).warnings).toEqual([]);
  });

  it('is told when it fills the disk, though nothing waits in it', async () => {
    const m = await begun();
    const limits = { rows: 10, bytes: 1000, seconds: 60 };
    expect(await warningsOf(m.db.ctx.pool, m.migration, limits)).toEqual([
      { kind: 'key-log-size', message: expect.stringMatching(/^the key log takes \d+ MiB/) },
    ]);
  });

  it('beyond 100,000 waiting changes: a run says so', async () => {
    const db = (await begun()).db;
    await db.pool.query(`create table big (id int primary key, v int); insert into big select g, g from generate_series(1, 120000) g;
                         create table big2 (id bigint primary key, v int)`);
    const file = migrationOf({
      name: 'big',
      source: 'public.big',
      target: 'public.big2',
      map: { id: 'id::bigint' },
      shadow: { fraction: 0.001 },
    });
    await db.run(file, { until: 'SHADOWING' });
    await db.pool.query('update big set v = v + 1');
    const said: string[] = [];
    const enough = new AbortController();
    const onEvent = (event: PipelineEvent) => {
      if (event.type !== 'warning') return;
      said.push(event.message);
      enough.abort();
    };
    await db.run(file, { onEvent, signal: enough.signal }).catch(() => undefined);
    expect(said).toEqual([expect.stringContaining('more than 100000 changes wait in the key log')]);
  });
});

describe('P21, P47: a snapshot that keeps dead rows of the key log', () => {
  const limits = { rows: 2 ** 31, bytes: 2 ** 40, seconds: 0.5 };

  it.each([
    ['a reader in REPEATABLE READ', 'begin isolation level repeatable read; select * from other'],
    ['a writer that idles in its transaction', 'begin; insert into other values (1)'],
  ])('of %s is told with pid and age, and that reads through the overlay are not recommended', async (_, sql) => {
    const m = await begun();
    const holder = await m.db.client({ application_name: 'report of the month' });
    await holder.query(sql);
    expect(await warningsOf(m.db.ctx.pool, m.migration, limits), 'too young').toEqual([]);
    await sleep(700);
    const { processID: pid } = holder as unknown as { processID: number };
    const message = new RegExp(
      `^pid ${pid} \\(\\w+, report of the month\\) has kept a snapshot for \\d+ s: .*reads through the overlay are not recommended`,
    );
    const status = await describeMigration(m.db.ctx.pool, 'm', limits);
    expect(JSON.parse(JSON.stringify(status)).warnings).toEqual([
      { kind: 'pinned-snapshot', message: expect.stringMatching(message) },
    ]);
    expect(statusText(status)).toMatch(new RegExp(`WARNING +pid ${pid} `));
    expect(await recordWarnings(m.db.ctx.pool, m.migration, limits)).toHaveLength(1);
    expect(await recordWarnings(m.db.ctx.pool, m.migration, limits), 'not again while it goes on').toEqual(
      [],
    );
    expect((await events(m)).map(({ detail }) => detail.kind)).toEqual(['pinned-snapshot']);
    await holder.query('rollback');
    expect((await describeMigration(m.db.ctx.pool, 'm', limits)).warnings).toEqual([]);
  });

  it('of a prepared transaction is told by its gid; one of another database is nobody’s business', async () => {
    const m = await begun();
    const elsewhere = await begun();
    const stranger = await elsewhere.db.client();
    await stranger.query('begin isolation level repeatable read; select * from other');
    const gid = `monthly ${m.db.name}`;
    await m.sql(`begin; insert into other values (1); prepare transaction '${gid}'`);
    await sleep(700);
    expect(await warningsOf(m.db.ctx.pool, m.migration, limits)).toEqual([
      { kind: 'pinned-snapshot', message: expect.stringContaining(`prepared transaction ${gid} (`) },
    ]);
    await m.sql(`rollback prepared '${gid}'`);
    await stranger.query('rollback');
  });

  it('younger than a minute is nobody’s business, by default', async () => {
    const m = await begun();
    const holder = await m.db.client();
    await holder.query('begin isolation level repeatable read; select * from other');
    await sleep(700);
    expect((await describeMigration(m.db.ctx.pool, 'm')).warnings).toEqual([]);
    await holder.query('rollback');
  });
});

it('P47: the key log is analysed when it is made, so that lookups through the overlay use its index', async () => {
  const m = await begun();
  const log = m.plan.names.keyLog;
  const [seen] = await m.sql(
    `select (select count(*)::int from pg_stats p where p.schemaname = 'foreshadow' and p.tablename = c.relname and p.attname = 'm1') as statistics,
            c.relpages > 0 as pages
       from pg_class c where c.oid = '${log}'::regclass`,
  );
  expect(seen).toEqual({ statistics: 1, pages: true });
  const plan = await m.sql<{ 'QUERY PLAN': string }>('explain select * from t where id = 7');
  const lines = plan.map((row) => row['QUERY PLAN']).join('\n');
  expect(lines).toContain(`key_log_${m.plan.migrationId}_mapped`);
  expect(lines).not.toContain(`Seq Scan on key_log`);
});
