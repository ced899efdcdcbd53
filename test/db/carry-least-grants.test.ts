import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { type Context, createContext } from '../../src/context.ts';
import { initSchema } from '../../src/db/migrate.ts';
import { abort } from '../../src/migration/abort.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { runMigration } from '../../src/pipeline.ts';
import { afterFile, type TestDatabase, testDatabase } from '../support/database.ts';
import { migrationOf } from '../support/migrations.ts';

/** What docs/what-it-changes.md lists under Rights, and nothing else. {role} runs migrations, {owner} owns the tables. */
const grants: readonly { readonly sql: string; readonly without: string; readonly says: RegExp }[] = [
  {
    sql: 'grant {owner} to {role}',
    without: 'revoke {owner} from {role}',
    says: /missing: ownership of public\.[st]/,
  },
  {
    sql: 'grant create on schema public to {role}, {owner}',
    without: 'revoke create on schema public from {role}, {owner}',
    says: /missing: CREATE on schema public/,
  },
  {
    sql: 'grant pg_read_all_stats to {role}',
    without: 'revoke pg_read_all_stats from {role}',
    says: /missing: pg_read_all_stats/,
  },
  {
    sql: 'alter table parent owner to {owner}',
    without: 'alter table parent owner to postgres',
    says: /constraint to_parent on table public\.s depends on it: .*this role must own public\.parent/,
  },
  {
    sql: 'grant execute on function pass() to {role}',
    without: 'revoke execute on function pass() from {role}',
    says: /trigger pass on table public\.s depends on it: this role may not execute public\.pass\(\)/,
  },
];

const undo: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function asLeastRole(): Promise<{
  db: TestDatabase;
  ctx: Context;
  sql: (text: string) => Promise<void>;
}> {
  const db = await testDatabase();
  const names = { role: `least_${db.name}`, owner: `owner_${db.name}` };
  const sql = async (text: string) => {
    await db.pool.query(text.replaceAll('{role}', names.role).replaceAll('{owner}', names.owner));
  };
  await sql(`
    create role {role} login password 'least'; create role {owner};
    revoke all on schema public from public; grant usage on schema public to public;
    create table parent (id int primary key); insert into parent select generate_series(1, 100);
    create function pass() returns trigger language plpgsql as 'begin return new; end'; revoke execute on function pass() from public;
    create table s (id serial primary key, n int constraint to_parent references parent, tag text);
    create table t (id bigint primary key, n int, tag text);
    create table child (s_id int references s); create view seen as select id, n from s; create statistics st on n, tag from s;
    create trigger pass before insert on s for each row execute function pass(); create policy own on s using (n > 0);
    create function total() returns bigint language sql begin atomic select sum(n) from s; end; create publication p for table s;
    insert into s (n, tag) select i, 'x' from generate_series(1, 60) i; insert into child values (3); alter table s enable row level security;
    alter table s owner to {owner}; alter table t owner to {owner}; alter table child owner to {owner}; alter view seen owner to {owner};
    alter statistics st owner to {owner}; alter function total() owner to {owner};
    do $$ begin execute format('grant create on database %I to {role}, {owner}', current_database()); end $$;
    alter publication p owner to {owner};`);
  for (const grant of grants) await sql(grant.sql);
  const url = new URL(db.url);
  url.username = names.role;
  url.password = 'least';
  const models = await mkdtemp(join(tmpdir(), 'foreshadow-test-models-'));
  afterFile(() => rm(models, { recursive: true, force: true }));
  const ctx = await createContext({ databaseUrl: url.href, modelsDir: models, logLevel: 'silent' });
  undo.push(async () => {
    await ctx.close();
    await sql(
      'drop owned by {role} cascade; drop owned by {owner} cascade; drop role {role}; drop role {owner}',
    );
  });
  await initSchema(ctx.pool);
  return { db, ctx, sql };
}

test('a role with the least grants runs a whole migration, and aborts one', async () => {
  const { db, ctx } = await asLeastRole();
  const { rows } = await ctx.pool.query(
    'select rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname = current_user',
  );
  expect(rows).toEqual([{ rolsuper: false, rolbypassrls: false, rolcreaterole: false }]);
  await runMigration(ctx, migrationOf({ name: 'first' }), { until: 'SHADOWING' });
  expect((await abort(ctx.pool, 'first', { clock: ctx.clock, grace: 0 })).status).toBe('ABORTED');
  const status = await runMigration(ctx, migrationOf());
  expect(status).toMatchObject({ status: 'COMPLETED', verification: { missing: 0, extra: 0, different: 0 } });
  const { rows: done } = await db.pool.query(
    `select (select count(*)::int from s) as rows, (select count(*)::int from seen) as seen, total()::int,
            (select count(*)::int from pg_constraint where contype = 'f' and convalidated and 's'::regclass in (conrelid, confrelid)) as keys`,
  );
  expect(done).toEqual([{ rows: 60, seen: 60, total: 1830, keys: 2 }]);
});

test('each grant that is missing is named, and nothing is touched', async () => {
  const { ctx, sql } = await asLeastRole();
  expect((await preflight(ctx.pool, migrationOf())).error).toBeNull();
  for (const { sql: grant, without, says } of grants) {
    await sql(without);
    const { checks } = await preflight(ctx.pool, migrationOf());
    expect(checks.flatMap(({ status, message }) => (status === 'refuse' ? [message] : []))).toEqual(
      expect.arrayContaining([expect.stringMatching(says)]),
    );
    await sql(grant);
  }
});
