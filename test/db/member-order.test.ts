import { expect, it } from 'vitest';
import { admitWanted } from '../../src/sync/membership.queries.ts';
import { begun } from '../support/copying.ts';

const everywhere = { low: null, high: null };

it('the certain rows go in first, then those by chance in order of their numbers: what is in is a sample at any time', async () => {
  const m = await begun();
  const { member } = m.plan.names;
  // in no order by key or by number alone
  await m.sql(`insert into ${member} (k1, m1, stratum, probability, u, state, since)
    values (1, 1, 'random', 1, 0.3, 'wanted', now()), (2, 2, 'random', 1, 0.1, 'wanted', now()),
           (3, 3, 'predictive', 1, 0.9, 'wanted', now()), (4, 4, 'random', 1, 0.2, 'wanted', now())`);
  const client = await m.db.client();
  const present = async () =>
    (await m.sql<{ id: string }>(`select id::text from ${m.plan.names.target} t order by t.id`)).map(
      ({ id }) => Number(id),
    );
  for (const expected of [[3], [2, 3], [2, 3, 4], [1, 2, 3, 4]]) {
    await admitWanted(client, m.plan, everywhere, 1);
    expect(await present()).toEqual(expected);
  }
});
