import type { Pool } from 'pg';
import { expect, it } from 'vitest';
import { checkedMembers } from '../../src/confidence/checks.ts';
import { memberState } from '../../src/confidence/member.queries.ts';
import { fillRandom } from '../../src/pipeline/choice.ts';
import { MemberSet } from '../../src/shadow/member-set.ts';
import { membersAmong, shadowCounts, storedMembers } from '../../src/shadow/members.queries.ts';
import { judgeByChance, setRangeHeat, wantCertain } from '../../src/shadow/wanted.queries.ts';
import { permanentRandom, sourceKey } from '../../src/sync/fragments.ts';
import { prepareFence } from '../../src/sync/lane.queries.ts';
import { rig } from '../chaos/rig.ts';
import { begun } from '../support/copying.ts';

/** 20,000 members, all by chance but for 30. */
async function full(states: string, certain = 30) {
  const m = await begun();
  const { member } = m.plan.names;
  await m.sql(`insert into ${member} (k1, m1, stratum, probability, u, state, since)
               select id, id, case when id <= ${certain} then 'predictive' else 'random' end, 1, random(), ${states}, now() from s`);
  await m.sql(`analyze ${member}`);
  return m;
}

it('whatever the statistics of a shadow saw, a transaction of a lane never scans all members', async () => {
  const m = await full(`case when id % 2 = 0 then 'wanted' else 'leaving' end`);
  await m.sql(`update ${m.plan.names.member} set state = 'present'`); // and nobody analyses it again
  const client = await m.db.client();
  await prepareFence(client, m.plan, 0);
  const { rows } = await client.query<{ 'QUERY PLAN': string }>(
    'explain (analyze, timing off) execute foreshadow_fence(0)',
  );
  const lines = rows.map((row) => row['QUERY PLAN']).filter((line) => / on member_/.test(line));
  expect(lines).toHaveLength(2);
  for (const line of lines) expect(line).toMatch(/Index (Only )?Scan/);
});

const some = Array.from({ length: 40 }, (_, i) => String(i + 1));

it.each<[string, (on: Pool, m: Awaited<ReturnType<typeof full>>) => Promise<unknown>]>([
  ['the certain set is read', (on, { plan }) => storedMembers(on, plan, 'certain')],
  [
    'rows are wanted',
    (on, { plan }) => wantCertain(on, plan, new Map(some.map((key) => [key, { stratum: 'change' }]))),
  ],
  [
    'rows are judged by chance',
    (on, { plan }) =>
      judgeByChance(
        on,
        plan,
        some.map((key) => ({ mapped: [key] })),
        0.5,
      ),
  ],
  ['rows are asked about', (on, { plan }) => membersAmong(on, plan, some, ['present'])],
  ['ranges get their heat', (on, { plan }) => setRangeHeat(on, plan, some, new Float64Array(some.length))],
  ['it is asked what is absent', (on, { plan }) => memberState(on as never, plan)],
])('a large shadow is not read whole where %s', async (_what, work) => {
  const m = await full(`case when id % 500 = 0 then 'wanted' else 'present' end`);
  const client = await m.db.client();
  await client.query('begin');
  await work(client as unknown as Pool, m);
  const { rows } = await client.query<{ seq_scan: string; idx_scan: string }>(
    'select seq_scan, idx_scan from pg_stat_xact_user_tables where relid = to_regclass($1)',
    [m.plan.names.member],
  );
  await client.query('rollback');
  expect(rows[0]).toMatchObject({ seq_scan: '0' });
  expect(Number(rows[0]?.idx_scan)).toBeGreaterThan(0);
});

it('a large shadow is known by the keys that somebody asked about, and as large as it is', async () => {
  const m = await full(
    `case when id % 100 = 0 then 'leaving' when id % 100 = 1 then 'wanted' else 'present' end`,
  );
  const take = (most?: number) => MemberSet.take(m.db.pool, m.plan, ['wanted', 'present'], most);
  const whole = await take();
  const large = await take(19_999);
  expect([whole.size, large.size]).toEqual([19_800, 19_800]);
  const keys = ['1', '2', '100', '20000', '20001'];
  expect(keys.map((key) => whole.has(key))).toEqual([true, true, false, false, false]);
  expect(
    keys.map((key) => large.has(key)),
    'nobody asked yet',
  ).toEqual(keys.map(() => false));
  await large.know(keys);
  expect(keys.map((key) => large.has(key))).toEqual(keys.map((key) => whole.has(key)));
  const out = await MemberSet.take(m.db.pool, m.plan, ['present', 'leaving'], 100);
  expect(out.size).toBe(19_800);
  await m.sql(`update ${m.plan.names.member} set state = 'leaving'`);
  await large.know(['2', '3']);
  expect([large.has('2'), large.has('3')], 'as it was when it was first asked about').toEqual([true, false]);
});

it('of a large shadow the random members are estimated; what is absent is exact where it is little', async () => {
  const m = await full(`case when id % 500 = 0 or id = 3 then 'wanted' else 'present' end`);
  const exact = await shadowCounts(m.db.pool, m.plan);
  expect(exact).toEqual({
    wanted: 20_000,
    present: 19_959,
    leaving: 0,
    strata: { predictive: 29, random: 19_930 },
  });
  const about = await shadowCounts(m.db.pool, m.plan, 512 << 10);
  expect(about.strata.predictive).toBe(29);
  expect(about.wanted - about.present).toBe(41);
  expect(about.wanted, 'sixty blocks of some two hundred').toBeGreaterThan(5000);
  expect(about.wanted).toBeLessThan(80_000);
});

it('in however short runs the source is searched, every row below the rate is wanted, and no other', async () => {
  const m = await begun();
  const asked = { ...(await m.reload()), sampling: { pi0: 0.1 } };
  await fillRandom(m.db.ctx, asked, () => {}, 300);
  const keys = async (sql: string) => (await m.sql<{ k: number }>(sql)).map(({ k }) => k);
  const wanted = await keys(`select k1 as k from ${m.plan.names.member} where state = 'wanted' order by 1`);
  const u = permanentRandom(m.plan, sourceKey(m.plan));
  expect(wanted).toEqual(
    await keys(`select id as k from ${m.plan.names.source} s where ${u} < 0.1 order by 1`),
  );
  expect(wanted.length).toBeGreaterThan(1500);
});

it('members are found by the image of the row, whatever equal key they were asked for by', async () => {
  const m = await (
    await rig({
      setup: `create table s (id numeric primary key); insert into s values (5.0), (6.00); create table t (id text primary key);`,
      file: { map: { id: 'id::text' } },
      expected: 'select id::text from s',
    })
  ).begin();
  const { pool } = m.db;
  await wantCertain(pool, m.plan, new Map(['5', '6'].map((key) => [key, { stratum: 'change' }])));
  const stored = await storedMembers(pool, m.plan, 'certain');
  expect(stored.map(({ id, mapped }) => [id, mapped])).toEqual([
    ['5', ['5.0']],
    ['6', ['6.00']],
  ]);
  expect([...(await membersAmong(pool, m.plan, ['5', '6.000', '7'], ['wanted'])).keys()]).toEqual([
    '5',
    '6.000',
  ]);
  await judgeByChance(pool, m.plan, stored.slice(0, 1), 0);
  expect((await storedMembers(pool, m.plan, 'certain')).map(({ id }) => id)).toEqual(['6']);
});

it('row by row, the random members of a part are checked, and all certain ones', async () => {
  const m = await full(`'present'`);
  const client = await m.db.client();
  await client.query('begin');
  const { sync } = await checkedMembers(client, m.plan, { from: 0.5, until: 0.75, rate: 1, salt: 1 });
  await client.query('rollback');
  const [expected] = await m.sql(
    `select count(*)::int as n from ${m.plan.names.member} where stratum = 'random' and u >= 0.5 and u < 0.75`,
  );
  expect([sync.a.checked, sync.b.checked]).toEqual([30, (expected as { n: number }).n]);
});
