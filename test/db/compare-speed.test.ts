import { expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { compareSpeed } from '../../src/pipeline/compare-speed.ts';
import { begun, copying, until } from '../support/copying.ts';

it('the speed of the comparison is known while the first range is copied', async () => {
  const { m, lanes } = await copying({ copy: { rowsPerSecond: 4000 } });
  const speed = (known: number | null) => compareSpeed(m.db.pool, m.plan, systemClock, known);
  await until(() => lanes.totals.copied > 2500);
  const done = await m.sql<{ n: number }>(`select count(*)::int as n from ${m.plan.names.range} where done`);
  expect(done[0]?.n).toBe(0);
  // one range of two or more may have less than the run is to have
  await until(async () => ((await speed(null)) ?? 0) > 0);
  await until(async () => ((await speed(50)) ?? 0) > 50);
});

it('it is not known before rows are copied', async () => {
  const m = await begun();
  expect(await compareSpeed(m.db.pool, m.plan, systemClock, null)).toBeNull();
});

it('nor where a map is dear: the application is not made to wait for it', async () => {
  const dear = 'v + 0 * length(md5(repeat(v::text, 200000)))'; // about a millisecond
  const { m, lanes } = await copying({ map: { id: 'id::bigint', v: dear } });
  await until(() => lanes.totals.copied > 1000);
  const began = performance.now();
  expect(await compareSpeed(m.db.pool, m.plan, systemClock, null)).toBeNull();
  // fifty rows take a tenth of a second or so
  expect(await compareSpeed(m.db.pool, m.plan, systemClock, 2500), 'what went faster once').toBe(2500);
  expect(await compareSpeed(m.db.pool, m.plan, systemClock, 1e6), 'what was known stays').toBe(1e6);
  expect(performance.now() - began, 'rather than a second').toBeGreaterThan(250);
}, 120_000);
