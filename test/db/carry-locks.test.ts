import { expect, test } from 'vitest';
import { lockHistory } from '../../src/migration/status.store.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

interface Session {
  readonly name: string;
  readonly work: (query: (sql: string) => Promise<unknown>, key: number) => Promise<void>;
}

/** The orders in which applications lock a table and those that foreign keys bind to it: each against the others. */
const sessions: readonly Session[] = [
  {
    name: 'an order and then its lines',
    work: async (query, key) => {
      await query('begin');
      await query(`insert into s (id, n, parent_id) values (${key}, 1, ${key % 20})`);
      await query(`insert into line (s_id) values (${key})`);
      await query(`insert into line (s_id) values (${key})`);
      await query('commit');
    },
  },
  {
    name: 'a line alone',
    work: async (query, key) => void (await query(`insert into line (s_id) values (${1 + (key % 400)})`)),
  },
  {
    name: 'a line and then its order',
    work: async (query, key) => {
      await query('begin');
      await query(`insert into line (s_id) values (${1 + (key % 400)})`);
      await query(`update s set n = n + 1 where id = ${1 + (key % 400)}`);
      await query('commit');
    },
  },
  {
    name: 'a parent, and an order of it',
    work: async (query, key) => {
      await query('begin');
      await query(`insert into parent (id) values (${key})`);
      await query(`insert into s (id, n, parent_id) values (${key}, 1, ${key})`);
      await query('commit');
    },
  },
  {
    name: 'lines of an order',
    work: async (query, key) =>
      void (await query(
        `select count(*) from line join s on s.id = line.s_id where s.id = ${1 + (key % 400)}`,
      )),
  },
];

async function crowd(db: MigrationDatabase, stop: () => boolean): Promise<Map<string, number>> {
  const failures = new Map<string, number>();
  await Promise.all(
    sessions.map(async ({ work }, i) => {
      const client = await db.client({ application_name: 'crowd' });
      for (let k = 1; !stop(); k++) {
        try {
          await work((sql) => client.query(sql), 1_000_000 * (i + 1) + k);
        } catch (error) {
          const code = (error as { code?: string }).code ?? 'none';
          failures.set(code, (failures.get(code) ?? 0) + 1);
          await client.query('rollback');
        }
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
      await client.end();
    }),
  );
  return failures;
}

test.each([
  'any',
  'read-committed',
] as const)('a table in the middle of foreign keys is swapped under all who write to them (%s)', async (isolation) => {
  const db = await migrationDatabase(`
    create table parent (id int primary key);
    create table s (id int primary key, n int not null, parent_id int references parent on delete cascade);
    create table t (id bigint primary key, n int not null, parent_id int);
    create table line (id bigserial primary key, s_id bigint not null references s on delete cascade); create index on line (s_id);
    create view open_lines as select s.id as order_id, line.id from s join line on line.s_id = s.id;
    insert into parent select generate_series(0, 19);
    insert into s select i, 0, i % 20 from generate_series(1, 400) i;`);
  let over = false;
  const writing = crowd(db, () => over);
  const status = await db.run(migrationOf({ cutover: { isolation } })).finally(() => {
    over = true;
  });
  const failures = await writing;
  expect(status).toMatchObject({ status: 'COMPLETED', verification: { missing: 0, extra: 0, different: 0 } });
  // never a deadlock for the application, nor any other error
  expect([...failures]).toEqual([]);
  const { rows } = await db.pool.query<{ orphans: number; unvalidated: number; keys: number }>(
    `select (select count(*)::int from line where not exists (select from s where s.id = line.s_id)) as orphans,
            (select count(*)::int from pg_constraint where contype = 'f' and not convalidated) as unvalidated,
            (select count(*)::int from pg_constraint where contype = 'f' and 's'::regclass in (conrelid, confrelid)) as keys`,
  );
  expect(rows).toEqual([{ orphans: 0, unvalidated: 0, keys: 2 }]);
  const id = (await db.pool.query<{ id: number }>('select id from foreshadow.migration_status')).rows[0]?.id;
  const locks = (await lockHistory(db.pool, id as number)).filter(({ kind }) => kind.startsWith('cutover'));
  expect(locks).toEqual(
    ['cutover-writers', 'cutover-readers'].map((kind) =>
      expect.objectContaining({
        kind,
        hold_ms: expect.any(Number),
        tables: ['"public"."s"', 'public.parent', 'public.line'],
      }),
    ),
  );
});
