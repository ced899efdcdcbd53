import { afterEach, expect, it } from 'vitest';
import { setRangeHeat } from '../../src/shadow/wanted.queries.ts';
import { rig } from '../chaos/rig.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

it('the copy goes where most reads are still to be won: rows that the target has already make no range hot', async () => {
  const m = await (
    await rig({
      setup: `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 2000) g;
              create table t (id bigint primary key, v int);`,
      file: { map: { id: 'id::bigint' } },
      expected: 'select id::bigint, v from s',
    })
  ).begin();
  cleanups.push(() => m.close());
  const ranges = () =>
    m.sql<{ heat: number; low: number | null }>(
      'select heat, lo_k1::int as low from foreshadow.range_1 order by range_id',
    );
  expect((await ranges()).length).toBeGreaterThan(1);
  await m.sql(`insert into foreshadow.member_1 (k1, m1, stratum, state) values (1, 1, 'predictive', 'present'),
               (2, 2, 'predictive', 'wanted')`);
  await setRangeHeat(m.db.ctx.pool, m.plan, ['1', '2', '1999'], Float64Array.of(10, 1, 3));
  const heats = (await ranges()).map(({ heat }) => heat);
  expect(heats[0]).toBe(1);
  expect(heats.at(-1)).toBe(3);
  expect(heats.reduce((a, b) => a + b)).toBe(4);
});
