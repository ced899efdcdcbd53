import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { requireEqual, verify } from '../../src/migration/verify.ts';
import { type Rig, rig } from '../chaos/rig.ts';
import { rowsOnDisk } from '../support/catalogue.ts';
import { failureOf, migrationDatabase, migrationOf } from '../support/migrations.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

/** Copied, and nobody at work on it. */
async function copied(): Promise<Rig> {
  const m = await (
    await rig({
      setup: `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 500) g;
              create table t (id bigint primary key, v int);`,
      file: { map: { id: 'id::bigint' } },
      expected: 'select id::bigint, v from s',
    })
  ).begin();
  cleanups.push(() => m.close());
  await m.claim();
  await m.cutOverReads();
  await m.settle();
  return m;
}

const options = { clock: systemClock };

describe('what verification repairs', () => {
  it('rows that T lacks or has wrong are copied anew by the lanes; rows too many are told, and stop it', async () => {
    const m = await copied();
    await m.sql(
      `delete from foreshadow.t where id in (1, 400); update foreshadow.t set v = 0 where id = 250`,
    );
    await m.close();
    const lanes = m.running();
    await lanes.start();
    cleanups.push(() => lanes.stop());
    const mended = await verify(m.db.ctx.pool, m.plan, { ...options, repair: true });
    expect(mended).toMatchObject({ missing: 0, extra: 0, different: 0, compared: 500, repairs: 3 });
    expect(await m.targetDifferences()).toEqual([]);

    await m.sql('insert into foreshadow.t values (9001, 1)');
    const found = await verify(m.db.ctx.pool, m.plan, { ...options, repair: true });
    expect(found).toMatchObject({ missing: 0, extra: 1, different: 0, keys: { extra: ['9001'] } });
    expect(() => requireEqual(m.plan, found)).toThrow(/1 extra.*9001/);
  });
});

describe('what verification leaves to others', () => {
  it('rows whose change is still in the key log are not compared, and no difference; the lanes bring them', async () => {
    const m = await copied();
    await m.sql(
      'update s set v = -v where id <= 10; delete from s where id = 20; insert into s values (501, 1)',
    );
    const during = await verify(m.db.ctx.pool, m.plan, { ...options, repair: false });
    expect(during).toMatchObject({ missing: 0, extra: 0, different: 0, compared: 489 });
    await m.settle();
    const after = await verify(m.db.ctx.pool, m.plan, { ...options, repair: false });
    expect(after).toMatchObject({ missing: 0, extra: 0, different: 0, compared: 500 });
  });
});

describe('a unique constraint that only T has', () => {
  it('and that the data breaks stops the migration before the write cutover: keys named, S untouched', async () => {
    const db = await migrationDatabase(`
      create table s (id int primary key, mail text); insert into s select g, 'm' || g from generate_series(1, 300) g;
      create table t (id bigint primary key, mail text constraint one_each unique);`);
    const file = migrationOf({ map: { id: 'id::bigint' } });
    await db.run(file, { until: 'IN_PROGRESS' });
    await db.pool.query(`update s set mail = 'same' where id in (7, 250)`);
    const before = await rowsOnDisk(db.pool, 's');
    const failure = await failureOf(db.run(file));
    expect(failure).toMatchObject({ code: 'UNIQUE_VIOLATED', exitCode: 7, detail: { keys: [['7', '250']] } });
    expect(failure.message).toMatch(/7.*250/);
    expect(await rowsOnDisk(db.pool, 's')).toEqual(before);
    const { rows } = await db.pool.query(
      `select status, write_to, pg_typeof((select id from s limit 1))::text as key from foreshadow.migration_status`,
    );
    expect(rows).toEqual([{ status: 'FAILED', write_to: 'source', key: 'integer' }]);
    await db.pool.query(`update s set mail = 'another' where id = 7`); // the application goes on
    expect(await db.run(file)).toMatchObject({ status: 'COMPLETED' });
  });
});
