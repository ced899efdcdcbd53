import type { Client } from 'pg';
import { afterEach, expect, it } from 'vitest';
import { type Rig, rig } from '../chaos/rig.ts';

const open: Rig[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

const lookups = {
  'one key': 'select * from t where id = $1',
  'one key, limit 1': 'select * from t where id = $1 limit 1',
};

/** Nodes of a generic plan that read the whole key log, with the lookup that they belong to. */
async function scansOfTheLog(client: Client, log: string): Promise<string[]> {
  const found: string[] = [];
  for (const [i, name] of Object.keys(lookups).entries()) {
    const { rows } = await client.query<{ 'QUERY PLAN': string }>(`explain execute lookup_${i}(77)`);
    for (const { 'QUERY PLAN': line } of rows) {
      if (line.includes(`Seq Scan on ${log}`)) found.push(`${name}: ${line.trim()}`);
      // a hash or merge join of a single key would read the log from end to end
      if (/(Hash|Merge) \S*\s?Join/.test(line)) found.push(`${name}: ${line.trim()}`);
    }
  }
  return found;
}

it.each([
  ['int → bigint', 'id int', 'id bigint', 'id::bigint'],
  ['bigint → bigint', 'id bigint', 'id bigint', 'id'],
])('P47: whatever the statistics of the key log saw, a lookup through the overlay never scans it: %s', async (_, from, to, id) => {
  const m = await rig({
    setup: `create table s (${from} primary key, v int); insert into s select g, g from generate_series(1, 20000) g;
            create table t (${to} primary key, v bigint); analyze s;`,
    file: { map: { id, v: 'v::bigint' } },
    expected: 'select id::bigint, v::bigint from s',
  });
  open.push(m);
  await m.begin();
  const log = m.plan.names.keyLog;
  const name = `key_log_${m.plan.migrationId}`;
  const client = await m.db.client();
  await client.query('set plan_cache_mode = force_generic_plan');
  for (const [i, text] of Object.values(lookups).entries())
    await client.query(`prepare lookup_${i}(bigint) as ${text}`);
  await m.sql(`insert into ${m.plan.names.target} select id, v from s where id <= 10000;
               analyze ${m.plan.names.target}`);

  const fill = 'update s set v = v + 1';
  const empty = `delete from ${log}`;
  const states: [string, string[]][] = [
    ['as it was made', []],
    ['vacuumed while empty', [`vacuum ${log}`]],
    ['analysed while empty', [`analyze ${log}`]],
    ['as autovacuum does it, while empty', [`vacuum (analyze, truncate off) ${log}`]],
    ['full, statistics of the empty one', [fill]],
    ['full, vacuumed and analysed', [`vacuum (analyze, truncate off) ${log}`]],
    ['emptied, statistics of the full one', [empty]],
    ['filled and emptied ten times', Array.from({ length: 10 }, () => [fill, empty]).flat()],
    ['vacuumed after that', [`vacuum (index_cleanup on, truncate off) ${log}`]],
    ['a hot key, analysed', [`update s set v = v + 1 where id = 77`, `analyze ${log}`]],
    ['full again', [fill]],
  ];
  const found: Record<string, string[]> = {};
  for (const [state, statements] of states) {
    for (const sql of statements) await m.sql(sql);
    // the plan that a session has kept from the state before, and the one that it would make now
    for (const kept of ['kept', 'made anew']) {
      if (kept === 'made anew') await client.query('discard plans');
      const scans = await scansOfTheLog(client, name);
      if (scans.length) found[`${state}, plan ${kept}`] = scans;
    }
  }
  expect(found).toEqual({});

  const { rows } = await m.db.pool.query<{ options: string[] }>(
    'select reloptions as options from pg_class where oid = $1::regclass',
    [log],
  );
  expect(rows[0]?.options).toEqual(
    expect.arrayContaining([
      'vacuum_truncate=off',
      'autovacuum_vacuum_scale_factor=0',
      'autovacuum_vacuum_threshold=5000',
      'autovacuum_analyze_threshold=2147483647',
    ]),
  );
});
