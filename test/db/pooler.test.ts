import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createContext } from '../../src/context.ts';
import { runMigration } from '../../src/pipeline.ts';
import { catalogueOf, rowsOnDisk } from '../support/catalogue.ts';
import { failureOf, type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';
import { type Pooler, type PoolerOptions, startPooler } from '../support/pooler.ts';

let db: MigrationDatabase;
beforeAll(async () => {
  db = await migrationDatabase(
    `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 50) g;
     create table t (id bigint primary key, v int)`,
  );
});

const open: Pooler[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

async function through(how: PoolerOptions) {
  const pooler = await startPooler(db.url, how);
  open.push(pooler);
  return createContext({ ...db.ctx.config, databaseUrl: pooler.url });
}

describe('P27: a connection pooler', () => {
  it.each<[string, PoolerOptions]>([
    ['the backend used last is used again', { mode: 'transaction', next: 'last', backends: 2 }],
    ['the only backend is used by all', { mode: 'transaction', next: 'last', backends: 1 }],
    ['two backends take turns', { mode: 'transaction', next: 'in turn', backends: 2 }],
    ['three backends take turns', { mode: 'transaction', next: 'in turn', backends: 3 }],
    ['four backends take turns', { mode: 'transaction', next: 'in turn', backends: 4 }],
  ])('in transaction mode is refused by name, and nothing is touched: %s', async (_, how) => {
    const before = [await catalogueOf(db.pool), await rowsOnDisk(db.pool, 's')];
    const failure = await failureOf(through(how));
    expect(failure).toMatchObject({ code: 'POOLED_CONNECTION', exitCode: 3 });
    expect(failure.message).toContain('different backends from one transaction to the next');
    expect(failure.hint).toContain('session mode');
    expect([await catalogueOf(db.pool), await rowsOnDisk(db.pool, 's')]).toEqual(before);
  });

  it('that drops our session settings is refused, in whatever mode', async () => {
    const failure = await failureOf(through({ mode: 'session', backends: 20, dropOptions: true }));
    expect(failure).toMatchObject({ code: 'POOLED_CONNECTION', exitCode: 3 });
    expect(failure.message).toContain('session settings');
  });

  it('in session mode is as good as none: a whole migration runs through it', async () => {
    const ctx = await through({ mode: 'session', backends: 100 });
    try {
      expect(await runMigration({ ...ctx, clock: db.ctx.clock }, migrationOf())).toMatchObject({
        status: 'COMPLETED',
      });
    } finally {
      await ctx.close();
    }
    expect((await db.pool.query('select count(*)::int as n from s')).rows).toEqual([{ n: 50 }]);
  });
});
