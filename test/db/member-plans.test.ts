import { expect, it } from 'vitest';
import { prepareFence } from '../../src/sync/lane.queries.ts';
import { begun } from '../support/copying.ts';

it('whatever the statistics of a shadow saw, a transaction of a lane never scans all members', async () => {
  const m = await begun();
  const { member } = m.plan.names;
  await m.sql(`insert into ${member} (k1, m1, stratum, probability, u, state, since)
               select id, id, 'random', 1, random(), case when id % 2 = 0 then 'wanted' else 'leaving' end, now() from s`);
  await m.sql(`analyze ${member}`);
  await m.sql(`update ${member} set state = 'present'`); // and nobody analyses it again
  const client = await m.db.client();
  await prepareFence(client, m.plan, 0);
  const { rows } = await client.query<{ 'QUERY PLAN': string }>(
    'explain (analyze, timing off) execute foreshadow_fence(0)',
  );
  const lines = rows.map((row) => row['QUERY PLAN']).filter((line) => / on member_/.test(line));
  expect(lines).toHaveLength(2);
  for (const line of lines) expect(line).toMatch(/Index (Only )?Scan/);
});
