import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { batchesAfter } from '../../src/access/store.queries.ts';
import { describeMigration } from '../../src/migration/status.ts';
import { Mining } from '../../src/pipeline/mining.ts';
import { startMigration } from '../../src/pipeline.ts';
import { afterFile } from '../support/database.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';

test('rows are looked up by an indexed column, a bounded number of them, and only where it still tells', async () => {
  const db = await migrationDatabase(`
    create table s (id int primary key, email text not null, team int, note text);
    create table t (id int primary key, email text not null, team int, note text);
    create unique index on s (email);
    create index on s (team);
    insert into s select g, 'u' || g || '@x.org', case when g <= 3 then 1 else 2 end, 'n' from generate_series(1, 200) g;`);
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-lookup-'));
  afterFile(() => rm(folder, { recursive: true }));
  const path = join(folder, 'log.json');
  let minute = 10;
  const line = (sql: string, values?: string[]) =>
    `${JSON.stringify({
      timestamp: `2026-05-01 12:${minute++}:00.000 UTC`,
      ...{
        user: 'u',
        dbname: db.name,
        pid: 1,
        session_id: 'a',
        error_severity: 'LOG',
        application_name: 'app',
      },
      message: values ? `execute x: ${sql}` : `statement: ${sql}`,
      ...(values && {
        detail: `Parameters: ${values.map((value, k) => `$${k + 1} = '${value}'`).join(', ')}`,
      }),
    })}\n`;
  await writeFile(path, '');
  const queryLog = { path, lookup: ['email', 'team', 'note', 'nothing'] };
  const migration = await startMigration(db.ctx, migrationOf({ queryLog }));
  const mining = await Mining.open(db.ctx, migration);
  await appendFile(
    path,
    [
      line('select * from s where email = $1', ['u5@x.org']),
      line("update s set note = 'x' where email in ('u6@x.org', 'u7@x.org')"),
      line('select * from s where s.team = 1 and note is not null'),
      line("select * from s where id = 9 and email = 'u9@x.org'"),
      line('select * from s where team = 2'), // 197 rows
      line("select * from s where email = 'nobody'"),
      line("delete from s where email = 'u8@x.org'"), // gone by now, or should be
      line("update s set email = 'new' where email = 'u8@x.org'"),
      line("select * from s where email = 'u8@x.org' limit 1"),
      line("select * from s where note = 'n'"), // no index
      line('select 1'),
    ].join(''),
  );
  await mining.step();
  const stored = (await batchesAfter(db.ctx.pool, migration.id, 0, 100)).flatMap(({ accesses }) => accesses);
  expect(stored.map(({ key, op }) => `${op}${key}`)).toEqual(['R5', 'W6', 'W7', 'R1', 'R2', 'R3', 'R9']);

  const { rows } = await db.pool.query<{ statistics: Record<string, unknown> }>(
    'select statistics from foreshadow.access_store',
  );
  expect(rows[0]?.statistics).toMatchObject({ resolved: 4, unresolved: 6 });
  const reasons = (rows[0]?.statistics.unresolved_shapes as { reason: string }[]).map(({ reason }) => reason);
  expect(reasons.filter((reason) => reason.startsWith('looked up')).sort()).toEqual([
    'looked up by another column: no row has the value any more',
    'looked up by another column: too many rows have the value',
  ]);
  const warned = await db.pool.query(
    "select detail ->> 'message' as message from foreshadow.migration_event where kind = 'warning'",
  );
  expect(warned.rows.map(({ message }) => message)).toEqual([
    'rows are not looked up by note: no whole index begins with it',
    'rows are not looked up by nothing: there is no such column',
  ]);

  // the status tells it by shape, with its share
  const { query_log: told } = await describeMigration(db.ctx.pool, 'm');
  expect(told).toMatchObject({ resolved: 4, unresolved: 6 });
  expect(told?.unresolved_shapes.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(0.6);
  expect(told?.unresolved_shapes).toContainEqual({
    shape: 'select * from s where note = ?',
    count: 1,
    share: 0.1,
    reason: 'no condition on the key',
  });

  // more values than a second allows: the rest is left open, and said to be
  const many = Array.from({ length: 1200 }, (_, i) => line(`select * from s where email = 'v${i}'`));
  minute = 59;
  await appendFile(
    path,
    many.join('').replaceAll(/12:\d+:/g, '12:59:') + line('select 1').replace(/12:\d+:/, '12:59:'),
  );
  await mining.step();
  await appendFile(
    path,
    line('select * from s where id = 1')
      .replace(/12:\d+:/, '12:59:')
      .repeat(2),
  );
  await new Promise((resolve) => setTimeout(resolve, 400));
  await mining.step();
  const after = await db.pool.query<{
    statistics: { unresolved_shapes: { reason: string; count: number }[]; unresolved: number };
  }>('select statistics from foreshadow.access_store');
  const { unresolved, unresolved_shapes: shapes } = after.rows[0]?.statistics ?? {};
  expect(unresolved).toBe(1206);
  expect(shapes?.find(({ reason }) => reason.endsWith('too many at once'))?.count).toBeGreaterThanOrEqual(
    200,
  );
});
