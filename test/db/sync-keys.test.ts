import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { requireEqual, verify } from '../../src/migration/verify.ts';
import { setLaneMode } from '../../src/sync/lane.queries.ts';
import { type Rig, type RigOptions, rig } from '../chaos/rig.ts';
import { failureOf } from '../support/migrations.ts';

const made: Rig[] = [];
afterEach(async () => {
  for (const each of made.splice(0)) await each.close();
});

async function copied(options: RigOptions): Promise<Rig> {
  const m = await (await rig(options)).begin();
  made.push(m);
  await m.claim();
  await m.cutOverReads();
  await m.settle();
  expect(await m.targetDifferences()).toEqual([]);
  return m;
}

const keyed = (from: string, to: string, id: string, values: string): RigOptions => ({
  setup: `create table s (id ${from} primary key, v int); insert into s select ${values}, g from generate_series(1, 50) g;
          create table t (id ${to} primary key, v int);`,
  file: { map: { id } },
  expected: `select ${id}, v from s`,
  lanes: 2,
});
const digits = keyed('text', 'int', 'id::int', 'g::text');
const notFive = keyed('int', 'int', 'nullif(id, 555)', 'g');

describe('keys that the map has no value for', () => {
  it('the application is refused a key that T could not hold, as T will refuse it; nothing else is touched', async () => {
    const m = await copied(digits);
    const refused = await failureOf(m.sql(`insert into s values ('abc', 1)`));
    expect(refused).toMatchObject({ code: '22P02' });
    expect(refused.message).toContain('invalid input syntax for type integer: "abc"');
    await m.sql(
      `insert into s values ('77', 7); update s set v = 0 where id = '3'; delete from s where id = '4'`,
    );
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
    expect(await m.overlayDifferences()).toEqual([]);
  });

  it.each([
    ['a text that must be a number', digits, /id = \(s\.id\)::integer/],
    ['NULL for some keys', notFive, /id = NULLIF/],
  ])('doctor says so beforehand: %s', async (_, options, message) => {
    const m = await rig(options);
    const { checks, error } = await preflight(m.db.ctx.pool, { ...m.file, name: 'again' });
    expect(error).toBeNull();
    const [check] = checks.filter((each) => each.id === 'target key' && each.status === 'warn');
    expect(check?.message).toMatch(message);
    expect(check?.hint).toMatch(/will fail/);
  });

  it.each([
    'IN_PROGRESS',
    'UNIQUE',
    'SHADOWING',
  ] as const)('a row whose key maps to NULL stops the lanes by name, and its change is not taken away: %s', async (mode) => {
    const m = await copied(notFive);
    await m.inTransaction((client) => setLaneMode(client, m.plan, mode));
    await m.sql('insert into s values (555, 1)');
    const failure = await failureOf(m.settle());
    expect(failure).toMatchObject({ code: 'MAP_FAILS', detail: { keys: ['555'] } });
    expect(await m.sql(`select k1 from ${m.plan.names.keyLog}`)).toEqual([{ k1: 555 }]);
    await m.close();
    await m.claim();
    await m.sql('delete from s where id = 555');
    await m.settle();
    expect(await m.sql(`select k1 from ${m.plan.names.keyLog}`)).toEqual([]);
  });
});

describe('P45: rows that meet in one key and are alike in all else', () => {
  it('in different chunks: verification names them, and repairing does not make them go away', async () => {
    const m = await rig({
      setup: `create table s (id int primary key, v int); insert into s select g * 2, 0 from generate_series(1, 50) g;
              create table t (id int primary key, v int);`,
      file: { map: { id: 'id / 2' } },
      expected: 'select id / 2, v from s',
      lanes: 2,
      chunkRows: 1,
    });
    made.push(m);
    await m.sql('insert into s values (5, 0)');
    await m.begin();
    expect(m.laneCount, 'keys may meet: one lane').toBe(1);
    await m.claim();
    await m.cutOverReads();
    await m.settle();
    const options = { clock: systemClock, repair: true };
    const found = await verify(m.db.ctx.pool, m.plan, options);
    expect(found).toMatchObject({ missing: 0, extra: 0, different: 2, keys: { different: ['2', '2'] } });
    expect(() => requireEqual(m.plan, found)).toThrow(/2 different \(keys 2; 2\)/);
    await m.sql('delete from s where id = 5');
    await m.settle();
    expect(await verify(m.db.ctx.pool, m.plan, options)).toMatchObject({ different: 0 });
  });
});

describe('a key whose map depends on the collation of its column', () => {
  // beyond ASCII "C" leaves capitals as they are, and Unicode's own rules do not: the database has one of the two
  it.each(['"C"', '"und-x-icu"'])('is mapped by that, whatever the database has: %s', async (collation) => {
    const m = await copied({
      setup: `create table s (code text collate ${collation} primary key, v int);
              insert into s values ('ÄA', 1), ('ÖB', 2), ('ÜC', 3);
              create table t (code text collate ${collation} primary key, v int);`,
      file: { key: ['code'], map: { code: 'lower(code)' } },
      expected: 'select lower(code), v from s',
    });
    await m.sql(
      `insert into s values ('ÉD', 4); update s set v = 0 where code = 'ÄA'; delete from s where code = 'ÖB'`,
    );
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
    expect(await m.overlayDifferences()).toEqual([]);
  });

  it('also where two columns of the key have collations of their own, which an explicit one would set at odds', async () => {
    const m = await copied({
      setup: `create table s (a text collate "C", b text collate "und-x-icu", v int, primary key (a, b));
              insert into s values ('ÄA', 'x', 1), ('ÖB', 'y', 2);
              create table t (code text primary key, v int);`,
      file: { key: ['a', 'b'], map: { code: `(lower(a) || '/' || lower(b)) collate "C"` } },
      expected: `select (lower(a) || '/' || lower(b)) collate "C", v from s`,
    });
    await m.sql(
      `insert into s values ('ÉD', 'ÉD', 4); update s set v = 0 where a = 'ÄA'; delete from s where a = 'ÖB'`,
    );
    await m.settle();
    expect(await m.targetDifferences()).toEqual([]);
  });
});
