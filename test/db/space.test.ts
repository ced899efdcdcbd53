import { describe, expect, it } from 'vitest';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { needOf } from '../../src/migration/preflight/space.ts';
import { failureOf, type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

const gib = 2 ** 30;

describe('what a migration needs', () => {
  const sizes = { heap: 100 * gib, indexes: 20 * gib };
  it('the target by its width, and WAL as long as it is kept', () => {
    const calm = needOf(sizes, 0.5, { kept: gib, keepers: [], slotKeep: null });
    expect(calm.data / gib).toBeCloseTo(1.2 * (70 + 15) + 0.0625, 2);
    expect(calm.walWritten / gib).toBeCloseTo(91, 5);
    expect(calm.wal).toBe(gib);
    const kept = needOf(sizes, 0.5, { kept: gib, keepers: ['the archive'], slotKeep: null });
    expect(kept.wal).toBe(kept.walWritten);
    expect(needOf({ heap: 0, indexes: 0 }, 1, { kept: gib, keepers: [], slotKeep: null }).wal).toBe(0);
  });
});

const setup = `
  create table s (id int primary key, n int not null, doc text not null);
  insert into s select g, g, repeat(md5(g::text), 6) from generate_series(1, 30000) g;
  create index on s (n);
  analyze s;
  create table narrow (id int primary key, n bigint not null);
  create table wide (id int primary key, n int not null, doc text not null, again text not null);`;

async function needed(db: MigrationDatabase, target: string, map: Record<string, string>): Promise<number> {
  const { checks } = await preflight(db.ctx.pool, migrationOf({ target: `public.${target}`, map }), {
    diskFree: 1,
  });
  const refused = checks.find(({ id }) => id === 'disk');
  expect(refused?.message).toMatch(
    /^about [\d.]+ GiB of disk are needed on the server, and 0\.00 GiB are free: [\d.]+ GiB are missing$/,
  );
  const error = await failureOf(
    db.run(migrationOf({ target: `public.${target}`, map }), { diskFree: 1, until: 'PLANNED' }),
  );
  expect(error.code).toBe('DISK');
  return (error.detail as { need: number }).need;
}

describe('preflight', () => {
  it('counts the width of the target, and is on the safe side of what it takes', async () => {
    const db = await migrationDatabase(setup);
    const narrow = await needed(db, 'narrow', { n: 'n::bigint' });
    const wide = await needed(db, 'wide', { again: 'doc' });
    expect(wide).toBeGreaterThan(narrow);
    await db.pool.query('insert into wide select id, n, doc, doc from s; create index on wide (n)');
    const { rows } = await db.pool.query<{ n: number }>(`select pg_total_relation_size('wide')::float8 as n`);
    const took = rows[0]?.n as number;
    const fixed = 64 * 2 ** 20;
    expect(wide - fixed).toBeGreaterThan(2 * took); // WAL of it too
    expect(wide - fixed).toBeLessThan(4 * took);
  });

  it('sees the disk of a server on this machine, and says what a slot may keep', async () => {
    const db = await migrationDatabase(setup);
    const slot = `slot_${db.name.slice(-12)}`;
    await db.pool.query(`select pg_create_physical_replication_slot('${slot}')`);
    const { checks, error } = await preflight(
      db.ctx.pool,
      migrationOf({ target: 'public.narrow', map: { n: 'n::bigint' } }),
    );
    await db.pool.query(`select pg_drop_replication_slot('${slot}')`);
    expect(error).toBeNull();
    expect(checks.find(({ id }) => id === 'disk')).toMatchObject({
      status: 'ok',
      message: expect.stringMatching(/^[\d.]+ GiB of disk free, about 0\.\d\d GiB needed$/),
    });
    expect(checks.find(({ id }) => id === 'wal')).toMatchObject({
      status: 'warn',
      message: expect.stringContaining(`replication slot ${slot}`),
    });
  });
});
