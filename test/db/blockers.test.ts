import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { beginShadowing } from '../../src/migration/begin.ts';
import { finishTarget } from '../../src/migration/finish-target.ts';
import { updateStatus } from '../../src/migration/status.store.ts';
import { type Rig, rig } from '../chaos/rig.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

const options = {
  setup: `create table s (id int primary key, v int, tag text unique);
          insert into s select g, g, 'secret ' || g from generate_series(1, 500) g;
          create table t (id bigint primary key, v int, tag text unique);`,
  file: { map: { id: 'id::bigint' } },
  expected: 'select id::bigint, v, tag from s',
};

const pidOf = (client: Client) => (client as unknown as { processID: number }).processID;

/** Waits say who is waited for, and nobody is ended: the holder goes on where it was. */
async function expectNamed(m: Rig, holder: Client, said: readonly string[], what: RegExp): Promise<void> {
  while (!said.some((reason) => reason.includes(`pid ${pidOf(holder)} `))) await sleep(5);
  const reason = said.find((each) => each.includes(`pid ${pidOf(holder)} `)) as string;
  const { rows } = await holder.query<{ user: string }>('select current_user::text as user');
  expect(reason).toMatch(what);
  expect(reason).toMatch(
    new RegExp(`pid ${pidOf(holder)} \\(${rows[0]?.user}, \\d+\\.\\d s, idle in transaction: `),
  );
  expect(reason, 'no values').not.toContain('secret');
  expect(await m.sql('select count(*)::int as n from s')).toEqual([{ n: 500 }]);
}

describe('whoever holds us up is named by pid, user, age and query, and left alone', () => {
  it('a writer, when capture is to be installed', async () => {
    // a key that keeps its type needs no index of ours first
    const setup = options.setup.replace('bigint', 'int');
    const m = await rig({ ...options, setup, file: {}, expected: 'select * from s' });
    const holder = await m.db.client();
    await holder.query(`begin; update s set v = 0 where tag = 'secret 1'`);
    const said: string[] = [];
    const begun = beginShadowing(m.db.ctx.pool, m.migration, {
      lanes: 2,
      clock: systemClock,
      onWait: (reason) => void said.push(reason),
    });
    await expectNamed(
      m,
      holder,
      said,
      /^waiting for a lock on "public"\."s" to install capture \(attempt \d+\): /,
    );
    await holder.query('commit');
    expect((await begun).status).toBe('SHADOWING');
  });

  it('a reader with an old snapshot, when an index is built; the build is announced, and done when it ends', async () => {
    const m = await (await rig(options)).begin();
    cleanups.push(() => m.close());
    await m.claim();
    await m.cutOverReads();
    await m.settle();
    await updateStatus(m.db.pool, m.migration.id, { copied_at: new Date() });
    const holder = await m.db.client();
    await holder.query(`begin isolation level repeatable read; select 1 from s where tag = 'secret 2'`);
    const said: string[] = [];
    const finished = finishTarget(m.db.ctx.pool, await m.reload(), {
      clock: systemClock,
      onStep: async () => {},
      onWait: async (reason) => void said.push(reason),
    });
    await expectNamed(m, holder, said, /^building index t_tag_key \(waiting for old snapshots.*\): /);
    const events = () =>
      m.sql(`select detail from foreshadow.migration_event where kind = 'index' order by id`);
    const announced = (await events()).map(({ detail }) => detail);
    expect(announced.at(-1)).toMatchObject({ index: 't_tag_key', done: false });
    await holder.query('commit');
    await finished;
    expect((await events()).at(-1)?.detail).toMatchObject({ done: true, seconds: expect.any(Number) });
  });
});
