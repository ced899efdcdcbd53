import { expect, it } from 'vitest';
import type { Stratum } from '../../src/core/states.ts';
import { wantCertain } from '../../src/shadow/wanted.queries.ts';
import { begun, until } from '../support/copying.ts';

it('choosing the shadow survives a deadlock with a lane that locks members in its own order', async () => {
  const m = await begun();
  const { member } = m.plan.names;
  const certain = (stratum: Stratum) => new Map(['1', '2'].map((id) => [id, { stratum }]));
  await wantCertain(m.db.pool, m.plan, certain('frequency'));
  const lane = await m.db.client();
  await lane.query(`begin; select from ${member} where k1 = 2 for update`);
  const choosing = wantCertain(m.db.pool, m.plan, certain('change'));
  const waits = async () =>
    (
      await m.sql(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
    ).length > 0;
  await until(waits);
  // the one that waits first is the first to look for a deadlock, and is ended
  await lane.query(`select from ${member} where k1 = 1 for update`);
  await lane.query('commit');
  await choosing;
  expect(await m.sql(`select stratum from ${member} where k1 in (1, 2)`)).toEqual([
    { stratum: 'change' },
    { stratum: 'change' },
  ]);
});
