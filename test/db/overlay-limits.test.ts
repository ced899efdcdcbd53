import { afterEach, describe, expect, it } from 'vitest';
import { type Rig, type RigOptions, rig } from '../chaos/rig.ts';
import { failureOf } from '../support/migrations.ts';

const made: Rig[] = [];
afterEach(async () => {
  for (const each of made.splice(0)) await each.close();
});

const options: RigOptions = {
  setup: `create table s (id int primary key, v int, w text);
          insert into s select g, g % 100, 'w' || g from generate_series(1, 20000) g; analyze s;
          create table t (id bigint primary key, v numeric(12, 2), w text);`,
  file: { map: { id: 'id::bigint', v: '(v / 100.0)::numeric(12, 2)' } },
  expected: 'select id::bigint, (v / 100.0)::numeric(12, 2), w from s',
};

/** Half of the rows copied, some of them changed since. */
async function halfWay(): Promise<Rig> {
  const m = await (await rig({ ...options, lanes: 1, chunkRows: 1000 })).begin();
  made.push(m);
  await m.claim();
  await m.cutOverReads();
  for (let i = 0; i < 10; i++) await m.tick();
  expect(await m.copied()).toBe(false);
  await m.sql(
    `update s set v = 77 where id % 500 = 1; delete from s where id % 500 = 2; analyze ${m.plan.names.target}`,
  );
  return m;
}

describe('what the overlay is not', () => {
  it('P13, P14, P15: a way to write: every kind of write is refused, and neither table changes', async () => {
    const m = await halfWay();
    const before = await m.sql(
      `select (select sum(v) from s) as s, (select sum(v) from ${m.plan.names.target}) as t`,
    );
    for (const write of [
      "insert into t values (5, 1, 'x')",
      "insert into t values (90001, 1, 'x') on conflict (id) do nothing",
      "insert into t values (90001, 1, 'x') on conflict do nothing",
      "merge into t using (values (1)) n (id) on t.id = n.id when matched then update set w = 'x'",
      "update t set w = 'x' where id = 1",
      'delete from t where id = 1',
      'truncate t',
      'create index on t (id)',
      'alter table s add foreign key (id) references t',
    ]) {
      const failure = await failureOf(m.sql(write));
      expect(failure.code, write).toMatch(/^(55000|42809|42P10|0A000)$/); // not updatable, wrong kind of object
    }
    expect(
      await m.sql(`select (select sum(v) from s) as s, (select sum(v) from ${m.plan.names.target}) as t`),
    ).toEqual(before);
  });

  it('P12: a way to lock rows: whoever may read it is refused FOR UPDATE, which would lock nothing', async () => {
    const m = await halfWay();
    const role = `locker_${m.db.name}`;
    await m.sql(`create role ${role}; grant select on t to ${role}; grant select, update on s to ${role}`);
    const client = await m.db.client();
    try {
      await client.query(`set role ${role}`);
      expect((await client.query('select id from t where id = 5')).rowCount).toBe(1);
      for (const strength of ['update', 'no key update', 'share', 'key share'])
        expect((await failureOf(client.query(`select id from t where id = 5 for ${strength}`))).code).toBe(
          '42501',
        );
      expect((await client.query('select id from s where id = 5 for update')).rowCount).toBe(1);
    } finally {
      await client.end();
      await m.sql(`drop owned by ${role}; drop role ${role}`);
    }
  });
});

describe('what the overlay costs', () => {
  it('P17: a lookup by the new key uses an index on each side, though the type has changed', async () => {
    const m = await halfWay();
    for (const id of [5, 501, 502, 15_000]) {
      const rows = await m.sql<{ 'QUERY PLAN': string }>(`explain select * from t where id = ${id}`);
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      expect(plan, `id ${id}`).not.toMatch(/Seq Scan on (s|t|key_log_1)\b/);
    }
  });

  it('P18: sorted and summed reads pass over both tables, and are exact', async () => {
    const m = await halfWay();
    for (const read of [
      'select * from %s order by id limit 1500',
      'select * from %s order by id desc limit 30',
      'select v, count(*), sum(id), min(w) from %s group by v',
    ]) {
      const [overlay, truth] = await Promise.all(
        ['t', `(${options.expected}) x (id, v, w)`].map((from) => m.sql(read.replace('%s', from))),
      );
      const sorted = (rows: unknown) => (rows as object[]).map((row) => JSON.stringify(row)).sort();
      expect(sorted(overlay), read).toEqual(sorted(truth));
    }
  });
});

describe('what the copy and capture leave alone', () => {
  it('P21: no snapshot of ours lasts longer than a chunk', async () => {
    const m = await (await rig({ ...options, lanes: 1, chunkRows: 200 })).begin();
    made.push(m);
    await m.claim();
    await m.cutOverReads();
    let oldest = 0;
    while (!(await m.copied())) {
      await m.tick();
      const held = await m.sql(
        `select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
            and application_name like 'foreshadow%' and (backend_xmin is not null or backend_xid is not null)`,
      );
      oldest = Math.max(oldest, held.length);
    }
    expect(oldest, 'between two chunks nothing is held').toBe(0);
  });

  it('P46: a captured change can be prepared for a two-phase commit, and capture notifies nobody', async () => {
    const m = await halfWay();
    const gid = `two phases ${m.db.name}`;
    await m.sql(`begin; update s set v = 1 where id = 7; prepare transaction '${gid}'`);
    await m.sql(`commit prepared '${gid}'`);
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
  });
});
