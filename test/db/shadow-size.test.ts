import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { run as foreshadow } from '../../src/cli/program.ts';
import { resizeShadow } from '../../src/migration/shadow-size.store.ts';
import { findMigration, getMigration, type Migration } from '../../src/migration/status.store.ts';
import { describeMigration } from '../../src/migration/status.ts';
import { failureOf, type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

const rows = 4000;
const db: MigrationDatabase = await migrationDatabase(
  `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, ${rows}) g;
   create table t (id bigint primary key, v int);`,
);
const file = migrationOf({
  map: { id: 'id::bigint' },
  shadow: { fraction: 0.1 },
  cutover: { reads: 'operator' },
  confidence: { consecutive: 2 },
});
const stop = new AbortController();
const running = db.run(file, { signal: stop.signal }).catch((error: { code: string }) => error.code);
afterAll(async () => {
  stop.abort();
  expect(await running).toBe('INTERRUPTED');
});

const now = () => getMigration(db.pool, 'm');
const sampled = (m: Migration) => m.sampling as { pi0: number; filled: number; fraction: number };

/** READY again, for a shadow of this size, with everything admitted and everything evicted. */
async function ready(fraction: number): Promise<Migration> {
  for (;;) {
    const m = await findMigration(db.pool, 'm');
    if (!m) continue; // not planned yet
    const moving = m.physical
      ? (await db.pool.query(`select 1 from ${m.plan.names.member} where state <> 'present' limit 1`))
          .rowCount
      : 1;
    if (m.status === 'READY' && sampled(m).fraction === fraction && !moving) return m;
    await sleep(20);
  }
}

interface Member {
  readonly k1: number;
  readonly stratum: string;
  readonly u: number;
}
const members = async ({ plan }: Migration): Promise<Member[]> =>
  (await db.pool.query<Member>(`select k1, stratum, u from ${plan.names.member} order by k1`)).rows;
const inTarget = async ({ plan }: Migration): Promise<number[]> =>
  (await db.pool.query<{ id: string }>(`select id from ${plan.names.target} order by id`)).rows.map(
    ({ id }) => Number(id),
  );
const keys = (found: readonly Member[]) => found.map(({ k1 }) => k1);

/** The random remainder is what design says: every other row below the rate, and none above it. */
async function expectValid(m: Migration): Promise<void> {
  const { pi0, filled } = sampled(m);
  const found = await members(m);
  expect(filled).toBe(pi0);
  expect(await inTarget(m)).toEqual(keys(found));
  const { rows: below } = await db.pool.query<{ id: number }>(
    `select id from (select id, ((hash_record_extended(row(id), ${m.plan.seed}) >> 11) & 9007199254740991)::float8 / 9007199254740992.0 as u from s) s
      where u < $1 order by id`,
    [pi0],
  );
  const certain = new Set(keys(found.filter(({ stratum }) => stratum !== 'random')));
  expect(keys(found.filter(({ stratum }) => stratum === 'random'))).toEqual(
    below.map(({ id }) => id).filter((id) => !certain.has(id)),
  );
}

describe('a shadow whose size is changed while it is kept', () => {
  test('grows: every random row stays, some come, the gate is shut until confidence holds anew', async () => {
    const before = await ready(0.1);
    const had = await members(before);
    await expectValid(before);
    await db.pool.query('update s set v = v + 1 where id % 40 = 0');
    expect((await resizeShadow(db.ctx.pool, 'm', 0.3, 'test')).status).toBe('SHADOWING');
    const after = await ready(0.3);
    await expectValid(after);
    const has = await members(after);
    expect(has.length).toBeGreaterThan(0.25 * rows);
    expect(sampled(after).pi0).toBeGreaterThan(sampled(before).pi0);
    const random = keys(had.filter(({ stratum }) => stratum === 'random'));
    expect(keys(has)).toEqual(expect.arrayContaining(random));
    const { rows: moves } = await db.pool.query<{ to_status: string }>(
      `select to_status from foreshadow.migration_event where kind = 'status' order by id`,
    );
    expect(moves.map(({ to_status }) => to_status).slice(-3)).toEqual(['READY', 'SHADOWING', 'READY']);
    // the gate opens at 99 % of the rows: the next evaluation sees all of them
    await vi.waitFor(async () => {
      const status = await describeMigration(db.ctx.pool, 'm');
      expect(status.shadow_table_status).toMatchObject({ fraction: 0.3, completeness: 1, accuracy: 1 });
    }, 10_000);
  });

  test('shrinks: lanes take rows out of the target again, those with the highest numbers', async () => {
    const before = await ready(0.3);
    const had = (await members(before)).length;
    expect(
      await foreshadow(['node', 'foreshadow', '--database-url', db.url, 'shadow', 'm', '--fraction', '0.15']),
    ).toEqual({ exitCode: 0 });
    const after = await ready(0.15);
    await expectValid(after);
    expect((await members(after)).length).toBeLessThan(0.7 * had);
    const { rows: extra } = await db.pool.query(
      `select id::int, v from t except select id, v from s`, // the overlay, which stands where t stood
    );
    expect(extra).toEqual([]);
  });

  test('a size that cannot be, and one that comes too late, are refused', async () => {
    expect(await failureOf(resizeShadow(db.ctx.pool, 'm', 0.7, 'test'))).toMatchObject({ code: 'USAGE' });
    expect(await failureOf(resizeShadow(db.ctx.pool, 'nobody', 0.2, 'test'))).toMatchObject({
      code: 'MIGRATION_UNKNOWN',
    });
    await ready(0.15);
    const { id } = await now();
    await db.pool.query(
      `update foreshadow.migration_status set orders = '{"cutover-reads": {"by": "test", "at": "now"}}' where id = $1`,
      [id],
    );
    while ((await now()).status !== 'IN_PROGRESS') await sleep(20);
    const error = await failureOf(resizeShadow(db.ctx.pool, 'm', 0.2, 'test'));
    expect(error).toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('grows with the copy'),
    });
  });
});
