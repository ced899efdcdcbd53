import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { settleTarget } from '../../src/migration/finish-target.ts';
import { updateStatus } from '../../src/migration/status.store.ts';
import { describeMigration } from '../../src/migration/status.ts';
import { finalizeMigration, rollBackMigration } from '../../src/pipeline.ts';
import { Lanes } from '../../src/sync/lanes.ts';
import { atTheSwap, differenceSql, type Rig, type RigOptions } from '../chaos/rig.ts';
import { catalogueOf } from '../support/catalogue.ts';
import { failureOf } from '../support/migrations.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

/** int → bigint, text → numeric, one value split; a unique value beside the key, an identity, a generated column. */
const shop: RigOptions = {
  setup: `
    create table s (id int primary key, amount_cents int not null, name text unique, place text not null default 'x',
      n bigint generated always as identity, twice int generated always as (amount_cents * 2) stored);
    create index s_place on s (place);
    insert into s (id, amount_cents, name, place) select g, g * 7, 'n' || g, 'a-' || g from generate_series(1, 500) g;
    create table t (id bigint primary key, amount numeric(12, 2) not null, name text unique, area text, spot int,
      n bigint generated always as identity);`,
  file: {
    map: {
      id: 'id::bigint',
      amount: 'amount_cents / 100.0',
      area: `split_part(place, '-', 1)`,
      spot: `split_part(place, '-', 2)::int`,
    },
    back: { amount_cents: '(amount * 100)::int', place: `area || '-' || spot` },
  },
  expected: `select id::bigint, (amount_cents / 100.0)::numeric(12, 2), name, split_part(place, '-', 1), split_part(place, '-', 2)::int, n from s`,
};

/** What S must hold, from T as it is now, by hand. */
const restored = (t: string) =>
  `select id::int, (amount * 100)::int, name, area || '-' || spot, n, (amount * 100)::int * 2 from ${t}`;
const held = 'select id, amount_cents, name, place, n, twice from s';

/** Writes are cut over, the guard is gone; nobody keeps the old table in step yet. */
async function completed(options: RigOptions = shop): Promise<Rig> {
  const { m, lanes } = await atTheSwap(options, cleanups);
  await m.cutOverWrites();
  await lanes.stop();
  const { pool } = m.db.ctx;
  expect(await settleTarget(pool, m.migration, systemClock, async () => true)).toBe(true);
  await updateStatus(pool, m.migration.id, { settled_at: new Date() });
  await m.reload();
  return m;
}

async function backLanes(m: Rig): Promise<Lanes> {
  const { plan, stamp } = (await m.reload()).physical!.wayBack!;
  const lanes = new Lanes({ ...m.lanesOptions(), plan, stamp, lanes: 1 });
  await lanes.start();
  cleanups.push(() => lanes.stop());
  return lanes;
}

const rollBack = (m: Rig, attempts = 100) => rollBackMigration(m.db.ctx, 'm', { attempts });

const everything = `
  insert into s (id, amount, name, area, spot) values (901, 9.01, 'new', 'b', 1), (902, 9.02, null, 'b', 2);
  update s set amount = amount + 1 where id <= 50;
  update s set name = null, area = 'moved' where id = 60;
  update s set id = 2000 where id = 61;
  delete from s where id between 100 and 120;
  update s set name = 'passing' where id = 1;
  update s set name = 'n1' where id = 2;
  update s set name = 'n2' where id = 1;`;

describe('rollback', () => {
  it('gives the old table its place again, with every change that the new one has seen', async () => {
    const m = await completed();
    await m.sql(everything);
    const now = await m.sql(`select x::text as row from (${restored('s')}) x order by 1`);
    await rollBack(m);
    expect((await m.reload()).status).toBe('ROLLED_BACK');
    expect(await m.sql(`select x::text as row from (${held}) x order by 1`)).toEqual(now);
    expect(await m.sql(differenceSql(held, restored('t'))), 'the target keeps its rows').toEqual([]);
    expect(await m.sql('select * from foreshadow.route($1)', ['m'])).toMatchObject([
      { read_from: 's', write_to: 's' },
    ]);
    const [next] = await m.sql(
      `insert into s (id, amount_cents, name) values (3000, 1, 'later') returning n::int`,
    );
    expect(next, 'numbers go on').toEqual({ n: 503 });
  });

  it('leaves the catalogue as it was, apart from what the target got', async () => {
    const { m, lanes } = await atTheSwap(shop, cleanups);
    const before = (await catalogueOf(m.db.pool, 'foreshadow')).filter((line) => /\bs(_\w+)?\b/.test(line));
    await m.cutOverWrites();
    await lanes.stop();
    await rollBack(m);
    const after = await catalogueOf(m.db.pool, 'foreshadow');
    const ours =
      /foreshadow_\d+_mapped_key|foreshadow_capture|foreshadow_truncate|view t|public\.t\b|\bt kind v/;
    expect(before.filter((line) => !ours.test(line) && !after.includes(line))).toEqual([]);
    expect(after.filter((line) => line.includes('foreshadow'))).toEqual([]);
  });
});
