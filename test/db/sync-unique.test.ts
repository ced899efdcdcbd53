import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { requireEqual, verify } from '../../src/migration/verify.ts';
import { type Rig, type RigOptions, rig } from '../chaos/rig.ts';
import { failureOf } from '../support/migrations.ts';

const made: Rig[] = [];
afterEach(async () => {
  for (const each of made.splice(0)) await each.close();
});

const withUnique = (unique: string, inSource = true): RigOptions => ({
  setup: `create table s (id int primary key, u text ${inSource ? 'unique' : ''}, v int);
          insert into s select g, 'u' || g, g from generate_series(1, 200) g;
          create table t (id bigint primary key, u text, v int, ${unique});`,
  file: { map: { id: 'id::bigint' } },
  expected: 'select id::bigint, u, v from s',
});

/** copied, T's unique indexes in place, lanes in mode UNIQUE and moved by the test */
async function unique(options: RigOptions): Promise<Rig> {
  const m = await (await rig(options)).begin();
  made.push(m);
  await m.claim();
  await m.cutOverReads();
  await m.settle();
  await m.finish();
  expect(await m.sql<{ mode: string }>('select distinct mode from foreshadow.lane')).toEqual([
    { mode: 'UNIQUE' },
  ]);
  return m;
}

const exchange = (one: number, other: number) =>
  `begin; update s set u = null where id = ${one}; update s set u = 'u${one}' where id = ${other};
   update s set u = 'u${other}' where id = ${one}; commit;`;

async function settled(m: Rig): Promise<void> {
  expect(await m.overlayDifferences()).toEqual([]);
  await m.settle();
  expect(await m.targetDifferences()).toEqual([]);
  expect(await m.overlayDifferences()).toEqual([]);
}

/** A lane whose session runs `between` after the statement that takes log rows and before the one that inserts. */
async function tickWith(m: Rig, between: () => Promise<unknown>): Promise<void> {
  await m.close();
  const connect = m.db.ctx.connect;
  let armed = true;
  const wrapped = async (role: string) => {
    const client = await connect(role);
    const query = client.query.bind(client) as (...args: unknown[]) => Promise<unknown>;
    client.query = (async (...args: unknown[]) => {
      if (armed && String(args[0]) === 'savepoint refresh') {
        armed = false;
        await between();
      }
      return query(...args);
    }) as unknown as typeof client.query;
    return client;
  };
  (m.db.ctx as { connect: typeof connect }).connect = wrapped;
  await m.claim();
  await m.tick();
  expect(armed, 'the lane had something to refresh').toBe(false);
  (m.db.ctx as { connect: typeof connect }).connect = connect;
}

describe.each([
  ['immediate', 'unique (u)'],
  ['deferrable', 'unique (u) deferrable'],
  ['initially deferred', 'unique (u) deferrable initially deferred'],
])('P25, P39: values of a unique column that move, %s', (_, constraint) => {
  it('two rows exchange them within one batch', async () => {
    const m = await unique(withUnique(constraint));
    await m.sql(exchange(1, 2));
    await settled(m);
  });

  it('two rows exchange them, and only one has been taken: the owner is dirty and steps aside', async () => {
    const m = await unique(withUnique(constraint));
    await m.sql(`update s set v = -1 where id = 1`);
    // The exchange commits after the lane has taken row 1: the value that row 1 has now is still with row 2 in T.
    await tickWith(m, () => m.sql(exchange(1, 2)));
    await settled(m);
  });

  it('a value moves on while the refresh is between its two statements', async () => {
    const m = await unique(withUnique(constraint));
    await m.sql(`begin; update s set u = 'x' where id = 1; update s set u = 'u1' where id = 2; commit`);
    await tickWith(m, () =>
      m.sql(`begin; update s set u = 'y' where id = 2; update s set u = 'u1' where id = 3; commit`),
    );
    await settled(m);
  });

  it('a ring of a hundred rows, each with the value of the next', async () => {
    const m = await unique(withUnique(constraint));
    await m.sql(`begin; update s set u = 'tmp' || id where id <= 100;
      update s set u = 'u' || (1 + id % 100) where id <= 100; commit;`);
    await settled(m);
    await m.sql('update s set v = v + 1');
    await settled(m);
  });

  it('rows that really share a value stop the lanes, and are named', async () => {
    const m = await unique(withUnique(constraint, false));
    await m.sql(`update s set u = 'u1' where id = 2`);
    const failure = await failureOf(m.settle());
    expect(failure.code).toBe('UNIQUE_VIOLATED');
    expect(failure.message).toContain('(u)=(u1)');
  });
});

describe('rows that share a value before the index is built', () => {
  it('are named, with their keys', async () => {
    const m = await (await rig({ ...withUnique('unique (u)', false) })).begin();
    made.push(m);
    await m.claim();
    await m.cutOverReads();
    await m.settle();
    await m.sql(`update s set u = 'u1' where id in (2, 3)`);
    await m.settle();
    const failure = await failureOf(m.finish());
    expect(failure).toMatchObject({ code: 'UNIQUE_VIOLATED', detail: { keys: [['1', '2', '3']] } });
  });
});

describe('verification', () => {
  it('sees a row that is missing, one too many and one that differs by image alone', async () => {
    const m = await (
      await rig({
        setup: `create table s (id int primary key, n numeric); insert into s select g, 1.0 from generate_series(1, 50) g;
                create table t (id bigint primary key, n numeric);`,
        file: { map: { id: 'id::bigint' } },
        expected: 'select id::bigint, n from s',
      })
    ).begin();
    made.push(m);
    await m.claim();
    await m.cutOverReads();
    await m.settle();
    await m.sql(`delete from foreshadow.t where id = 1; insert into foreshadow.t values (99, 1);
                 update foreshadow.t set n = 1.00 where id = 2`);
    const options = { clock: systemClock, repair: false };
    const found = await verify(m.db.ctx.pool, m.plan, options);
    expect(found).toMatchObject({ missing: 1, extra: 1, different: 1, compared: 50 });
    expect(found.keys).toEqual({ missing: ['1'], extra: ['99'], different: ['2'] });
    expect(() => requireEqual(m.plan, found)).toThrow(/1 missing, 1 extra, 1 different/);
    // nobody copies anew what differs when the lanes have stopped: that must not be waited for
    const stopped = () => {
      throw new Error('the lanes have stopped');
    };
    await expect(verify(m.db.ctx.pool, m.plan, { ...options, repair: true, check: stopped })).rejects.toThrow(
      'the lanes have stopped',
    );
  });
});

describe('the write cutover', () => {
  it('does not happen while a unique index of the target is missing', async () => {
    const m = await unique(withUnique('unique (u)'));
    await m.settle();
    await m.sql('alter table foreshadow.t drop constraint t_u_key');
    const waited: string[] = [];
    const failed = await failureOf(
      m.cutOverWrites({ maxAttempts: 2, onWait: async (reason) => void waited.push(reason) }),
    );
    expect(`${waited.join()} ${failed.message}`).toContain('indexes of the target are not built: t_u_key');
    expect((await m.reload()).status).toBe('IN_PROGRESS');
    expect(await m.sql('select count(*)::int as n from s')).toEqual([{ n: 200 }]);
  });
});
