import { afterEach, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { settleTarget } from '../../src/migration/finish-target.ts';
import { atTheSwap } from '../chaos/rig.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

it('P21: what keeps its snapshot for long after the swap is announced before, and while it goes on', async () => {
  const { m, lanes } = await atTheSwap(
    {
      setup: `
        create function dear(v int) returns bool language plpgsql immutable as 'begin perform pg_sleep(0.004); return true; end';
        create table parent (id int primary key); insert into parent values (1);
        create table s (id int primary key, v int constraint looked_at check (dear(v)), p int constraint bound references parent);
        create statistics counted on v, p from s;
        insert into s select g, g, 1 from generate_series(1, 400) g;
        create table t (id bigint primary key, v int, p int);`,
      file: { map: { id: 'id::bigint' } },
      expected: 'select id::bigint, v, p from s',
    },
    cleanups,
  );
  await m.cutOverWrites();
  await lanes.stop();
  const events = () =>
    m.sql<{ detail: { statement: string; done: boolean; message: string } }>(
      `select detail from foreshadow.migration_event where kind = 'settle' order by id`,
    );
  const said: string[] = [];
  const begun: string[] = [];
  const settled = await settleTarget(m.db.ctx.pool, m.migration, systemClock, async (reason) => {
    said.push(reason);
    const [under] = await m.sql<{ query: string }>(
      `select query from pg_stat_activity where datname = current_database() and query like 'alter table%validate%' and state = 'active'`,
    );
    if (under) begun.push(((await events()).at(-1) as { detail: { statement: string } }).detail.statement);
    return true;
  });
  expect(settled).toBe(true);
  const check = 'alter table "public"."s" validate constraint "looked_at"';
  // 400 rows that take 4 ms each
  expect(said).toContainEqual(
    expect.stringMatching(/^the swap is done; alter table .* validate constraint "looked_at", for \d/),
  );
  expect(begun).toContain(check);
  const told = (await events()).map(({ detail }) => [detail.statement, detail.done]);
  expect(told).toHaveLength(6);
  for (let i = 0; i < 6; i += 2) {
    expect(told[i + 1]?.[0]).toBe(told[i]?.[0]);
    expect([told[i]?.[1], told[i + 1]?.[1]]).toEqual([false, true]);
  }
  expect(told[0]?.[0]).toBe(check);
  expect(told.map(([statement]) => statement)).toEqual(
    expect.arrayContaining([
      expect.stringMatching(/validate constraint "?bound/),
      expect.stringMatching(/^analyze /),
    ]),
  );
  expect((await events())[0]?.detail.message).toContain('its snapshot is as old as the statement');
  expect(
    await m.sql(`select conname from pg_constraint where not convalidated and conrelid = 's'::regclass`),
  ).toEqual([]);
});
