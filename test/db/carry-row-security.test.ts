import type { Pool } from 'pg';
import { expect, test } from 'vitest';
import { createContext } from '../../src/context.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

const tables = `
  create table s (id int primary key, n int not null, owner_name text);
  create table t (id bigint primary key, n int not null, owner_name text);
  insert into s select i, i, case when i % 2 = 0 then 'a' else 'b' end from generate_series(1, 100) i;
  alter table s enable row level security; create policy even on s using (owner_name = 'a');`;

/** What a role that owns nothing reads, or why not. */
async function asReader(db: MigrationDatabase, role: string, sql: string): Promise<unknown> {
  const client = await db.client();
  await client.query(`set role ${role}`);
  const answer = await client.query<Record<string, unknown>>(sql).then(
    ({ rows }) => Object.values(rows[0] ?? {})[0],
    (error: Error) => error.message,
  );
  await client.end();
  return answer;
}

async function withRole(pool: Pool, name: string, body: () => Promise<void>): Promise<void> {
  await pool.query(`create role ${name} login password 'reader'`);
  try {
    await body();
  } finally {
    await pool.query(`drop owned by ${name} cascade; drop role ${name}`);
  }
}

test('with row security nobody but the owner reads the overlay, and readers stay on the source', async () => {
  const db = await migrationDatabase(tables);
  const reader = `reader_${db.name}`;
  await withRole(db.pool, reader, async () => {
    await db.pool.query(`grant select on s to ${reader}; grant select on t to ${reader}`);
    const waiting = migrationOf({ cutover: { writes: 'operator' } });
    await db.run(waiting, { until: 'IN_PROGRESS' });
    expect((await db.pool.query("select read_from from foreshadow.route('m')")).rows).toEqual([
      { read_from: 's' },
    ]);
    expect(await asReader(db, reader, 'select count(*)::int from t')).toMatch(/permission denied for view t/);
    expect(await asReader(db, reader, 'select count(*)::int from s')).toBe(50);

    expect((await db.run(migrationOf())).status).toBe('COMPLETED');
    expect(await asReader(db, reader, 'select count(*)::int from s')).toBe(50);
    expect(await asReader(db, reader, 'select count(*)::int from s where n % 2 = 1')).toBe(0);
  });
});

test('forced row security that holds for the migrating role too is refused', async () => {
  const db = await migrationDatabase(`${tables} alter table s force row level security;`);
  const owner = `owner_${db.name}`;
  await withRole(db.pool, owner, async () => {
    await db.pool.query(
      `grant create, usage on schema public to ${owner}; grant pg_read_all_stats to ${owner}; alter table s owner to ${owner}; alter table t owner to ${owner}`,
    );
    const url = new URL(db.url);
    url.username = owner;
    url.password = 'reader';
    const ctx = await createContext({ databaseUrl: url.href, modelsDir: 'unused', logLevel: 'silent' });
    const { error } = await preflight(ctx.pool, migrationOf()).finally(() => ctx.close());
    expect(error).toMatchObject({
      code: 'PRIVILEGE',
      message: expect.stringMatching(/missing: sight of all rows of public\.s: row security is forced on it/),
    });
  });
});
