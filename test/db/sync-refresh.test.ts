import { afterEach, describe, expect, it } from 'vitest';
import { type Rig, type RigOptions, rig } from '../chaos/rig.ts';

let open: Rig[] = [];
afterEach(async () => {
  for (const each of open) await each.close();
  open = [];
});

/** capture installed, lanes claimed, nothing copied */
async function shadowing(options: RigOptions): Promise<Rig> {
  const made = await (await rig(options)).begin();
  open.push(made);
  await made.claim();
  return made;
}

/** every range copied, no log row pending */
async function copied(options: RigOptions): Promise<Rig> {
  const made = await shadowing(options);
  await made.cutOverReads();
  await made.settle();
  expect(await made.copied()).toBe(true);
  expect(await made.targetDifferences()).toEqual([]);
  return made;
}

const letters: RigOptions = {
  setup: `create table s (k text primary key, v int);
          insert into s select chr(96 + g) || 'x', g from generate_series(1, 20) g;
          create table t (k text primary key, v int);`,
  file: { key: ['k'], map: { k: 'lower(k)' } },
  expected: 'select lower(k), v from s',
  lanes: 1,
};

describe('raw keys that differ and map to one key', () => {
  it('keeps the row when its key changes there and back before the lane comes by', async () => {
    const m = await copied(letters);
    await m.sql(`update s set k = 'AX' where k = 'ax'; update s set k = 'ax' where k = 'AX';`);
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
  });

  it('keeps the row when the last log row names a raw key that is gone', async () => {
    const m = await copied(letters);
    await m.sql(`update s set k = 'BX' where k = 'bx'`);
    await m.sql(`delete from s where k = 'BX'; insert into s values ('bx', 99);`);
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
  });
});

describe('identity columns of the target', () => {
  it('brings a changed value to a GENERATED ALWAYS column beside the key', async () => {
    const m = await copied({
      setup: `create table s (code text primary key, id int, v int);
              insert into s select 'c' || g, g, g from generate_series(1, 50) g;
              create table t (code text primary key, id bigint generated always as identity, v int);`,
      file: { key: ['code'], map: { id: 'id::bigint' } },
      expected: 'select code, id::bigint, v from s',
    });
    await m.sql('update s set id = 1000 + id where id % 5 = 0');
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
  });
});

describe('snapshots from before the migration', () => {
  it('reads S through the overlay, not an empty table', async () => {
    const made = await rig({
      setup: `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 50) g;
              create table t (id int primary key, v text); create table other ();`,
      file: { map: { v: 'v::text' } },
      expected: 'select id, v::text from s',
    });
    open.push(made);
    const old = await made.db.client();
    await old.query('begin isolation level repeatable read; select * from other');
    await made.begin();
    await made.claim();
    await made.cutOverReads();
    await made.settle();
    expect(await made.overlayDifferences(old)).toEqual([]);
    await old.query('rollback');
  });
});
