import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createContext } from '../../src/context.ts';
import { ForeshadowError } from '../../src/core/errors.ts';
import { abort } from '../../src/migration/abort.ts';
import { cutOverReads } from '../../src/migration/cutover/reads.ts';
import { getMigration } from '../../src/migration/status.store.ts';
import { saveModel } from '../../src/model/registry.ts';
import { trainModel } from '../../src/model/train.ts';
import { afterFile } from '../support/database.ts';
import { failureOf, type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';
import { movingHotSet } from '../unit/model.synthetic.ts';

const tables = `
  create table s (id serial primary key, n int not null, tag text, spare int);
  create table t (id bigint primary key, n int not null check (n >= 0), tag text);
  insert into s (n, tag) select i, 'x' || i from generate_series(1, 300) i;`;

const statusOf = async (db: MigrationDatabase) =>
  (await db.pool.query('select status, status_before, error, wait_reason from foreshadow.migration_status'))
    .rows[0];

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-'));
  afterFile(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

describe('DDL during a migration', () => {
  const t = 'foreshadow.t';
  const cases: [title: string, change: string, undo: string, says: RegExp][] = [
    [
      'a column added to S',
      'alter table s add column colour text',
      'alter table s drop column colour',
      /source.*\+ colour text/,
    ],
    [
      'a column dropped from S',
      'alter table s drop column spare',
      'alter table s add column spare int',
      /source.*- spare integer/,
    ],
    [
      'a column of S renamed',
      'alter table s rename spare to saved',
      'alter table s rename saved to spare',
      /source.*- spare integer, \+ saved integer/,
    ],
    [
      'a type changed in S',
      'alter table s alter spare type bigint',
      'alter table s alter spare type int',
      /source.*- spare integer, \+ spare bigint/,
    ],
    [
      'NOT NULL in S',
      'update s set spare = 1; alter table s alter spare set not null',
      'alter table s alter spare drop not null',
      /source.*\+ spare integer not null/,
    ],
    [
      'S renamed',
      'alter table s rename to s2',
      'alter table s2 rename to s',
      /source.*public\.s is now called public\.s2/,
    ],
    [
      'S moved',
      'create schema other; alter table s set schema other',
      'alter table other.s set schema public',
      /is now called other\.s/,
    ],
    [
      'row security on S',
      'alter table s enable row level security',
      'alter table s disable row level security',
      /row security was enabled/,
    ],
    [
      'a column added to T',
      `alter table ${t} add column colour text`,
      `alter table ${t} drop column colour`,
      /target.*\+ colour text/,
    ],
    [
      'T renamed',
      `alter table ${t} rename to t2`,
      'alter table foreshadow.t2 rename to t',
      /target.*foreshadow\.t is now called foreshadow\.t2/,
    ],
  ];
  const pausesAndGoesOn = async (_: string, change: string, undo: string, says: RegExp) => {
    const db = await migrationDatabase(tables);
    await db.run(migrationOf(), { until: 'SHADOWING' });
    await db.pool.query(change);
    const error = await failureOf(db.run(migrationOf()));
    expect(error).toBeInstanceOf(ForeshadowError);
    expect(error).toMatchObject({
      code: 'SCHEMA_CHANGED',
      exitCode: 5,
      hint: expect.stringMatching(/Undo the change or abort/),
    });
    expect(error.message).toMatch(says);
    expect(await statusOf(db)).toMatchObject({
      status: 'PAUSED',
      status_before: 'SHADOWING',
      error: { code: 'SCHEMA_CHANGED', message: error.message },
      wait_reason: error.message,
    });
    // not undone yet: it says so again, and stays as it is
    expect(await failureOf(db.run(migrationOf()))).toMatchObject({
      code: 'SCHEMA_CHANGED',
      message: expect.stringMatching(says),
    });
    expect(await statusOf(db)).toMatchObject({ status: 'PAUSED', status_before: 'SHADOWING' });
    await db.pool.query(undo);
    expect(await db.run(migrationOf())).toMatchObject({
      status: 'COMPLETED',
      error: null,
      verification: { missing: 0, extra: 0, different: 0 },
    });
  };
  const title = '%s: pauses and says what changed; undone, it goes on to the end';
  test.each(cases)(title, pausesAndGoesOn);

  test('while a run is at work, in the middle of the copy', async () => {
    const db = await migrationDatabase(tables);
    const file = migrationOf({ copy: { chunkRows: 20, rowsPerSecond: 100 } });
    let copying = () => {};
    const begun = new Promise<void>((resolve) => (copying = resolve));
    const running = failureOf(db.run(file, { onEvent: (event) => event.type === 'progress' && copying() }));
    await begun;
    await db.pool.query('alter table s add column colour text');
    expect(await running).toMatchObject({
      code: 'SCHEMA_CHANGED',
      message: expect.stringMatching(/colour text/),
    });
    expect(await statusOf(db)).toMatchObject({ status: 'PAUSED', status_before: 'IN_PROGRESS' });
    await db.pool.query('alter table s drop column colour');
    expect((await db.run(migrationOf())).status).toBe('COMPLETED');
  });

  test('a column that the map reads cannot go: the overlay stands in the way', async () => {
    const db = await migrationDatabase(tables);
    await db.run(migrationOf(), { until: 'SHADOWING' });
    await expect(db.pool.query('alter table s drop column tag')).rejects.toThrow(/depend/);
    await expect(db.pool.query('alter table s alter tag type varchar(5)')).rejects.toThrow(/used by a view/);
    expect((await db.run(migrationOf())).status).toBe('COMPLETED');
  });

  test('another table in the place of S is not S', async () => {
    const db = await migrationDatabase(tables);
    await db.run(migrationOf(), { until: 'SHADOWING' });
    await db.pool.query('alter table s rename to hidden; create table s (like hidden including all)');
    expect(await failureOf(db.run(migrationOf()))).toMatchObject({
      code: 'SCHEMA_CHANGED',
      message: expect.stringMatching(/now called public\.hidden/),
    });
  });

  test('the capture trigger disabled for a moment: changes may be lost, and a human must look', async () => {
    const db = await migrationDatabase(tables);
    await db.run(migrationOf(), { until: 'SHADOWING' });
    await db.pool.query(
      'alter table s disable trigger user; update s set n = 7 where id = 1; alter table s enable trigger user',
    );
    const expected = {
      code: 'CAPTURE_BROKEN',
      exitCode: 7,
      needsHuman: true,
      message: expect.stringMatching(/"public"\."s"/),
    };
    expect(await failureOf(db.run(migrationOf()))).toMatchObject(expected);
    expect(await statusOf(db)).toMatchObject({
      status: 'FAILED',
      status_before: 'SHADOWING',
      error: { code: 'CAPTURE_BROKEN' },
    });
    expect(await failureOf(db.run(migrationOf()))).toMatchObject(expected);
    await abort(db.ctx.pool, 'm', { clock: db.ctx.clock, grace: 0 });
    expect((await db.run(migrationOf({ name: 'again' }))).status).toBe('COMPLETED');
  });
});

test('TRUNCATE of S is refused with a hint while a migration runs, and works after abort', async () => {
  const db = await migrationDatabase(tables);
  await db.run(migrationOf(), { until: 'SHADOWING' });
  for (const sql of ['truncate s', 'truncate s restart identity cascade'])
    await expect(db.pool.query(sql)).rejects.toMatchObject({
      code: '55000',
      message: expect.stringMatching(/cannot be truncated while migration "m" runs/),
      hint: expect.stringMatching(/foreshadow abort m/),
    });
  expect((await db.pool.query('select count(*)::int as n from s')).rows).toEqual([{ n: 300 }]);
  await abort(db.ctx.pool, 'm', { clock: db.ctx.clock, grace: 0 });
  await db.pool.query('truncate s');
});

test('a second run of the same migration gives way, and the first goes on unharmed', async () => {
  const db = await migrationDatabase(tables);
  const file = migrationOf({ cutover: { reads: 'operator' } });
  let waiting = () => {};
  const ready = new Promise<void>((resolve) => (waiting = resolve));
  const first = db.run(file, {
    onEvent: (event) => event.type === 'wait' && /operator/.test(event.reason) && waiting(),
  });
  await ready;
  const before = (await db.pool.query('select lane, epoch, holder_pid from foreshadow.lane order by lane'))
    .rows;
  expect(await failureOf(db.run(file))).toMatchObject({
    code: 'ALREADY_RUNNING',
    exitCode: 5,
    message: expect.stringMatching(/migration "m" is being run by run \S+ \(pid \d+ on the server\)/),
    hint: expect.stringMatching(/Stop the other process/),
  });
  expect(
    (await db.pool.query('select lane, epoch, holder_pid from foreshadow.lane order by lane')).rows,
  ).toEqual(before);
  expect(await statusOf(db)).toMatchObject({ status: 'READY', error: null });
  await cutOverReads(db.ctx.pool, await getMigration(db.ctx.pool, 'm'));
  expect(await first).toMatchObject({
    status: 'COMPLETED',
    verification: { missing: 0, extra: 0, different: 0 },
  });
});

test('a migration whose file has become another one', async () => {
  const db = await migrationDatabase(tables);
  await db.run(migrationOf(), { until: 'SHADOWING' });
  expect(
    await failureOf(db.run(migrationOf({ map: { tag: 'upper(tag)' }, source: 'public.other' }))),
  ).toMatchObject({
    code: 'CONFLICT',
    exitCode: 5,
    message: expect.stringMatching(/exists with another source, map; abort it first/),
  });
  // what may change, may: how fast, how sure, who decides
  expect((await db.run(migrationOf({ shadow: { fraction: 0.2 }, copy: { chunkRows: 50 } }))).status).toBe(
    'COMPLETED',
  );
});

describe('rows that come up later', () => {
  test('a row that the map or the target refuses stops the migration by name; mended, it goes on', async () => {
    const db = await migrationDatabase(tables);
    await db.run(migrationOf({ cutover: { writes: 'operator' } }), { until: 'IN_PROGRESS' });
    await db.pool.query('update s set n = -1 where id = 5');
    const error = await failureOf(db.run(migrationOf()));
    expect(error).toMatchObject({
      code: 'MAP_FAILS',
      exitCode: 3,
      message: expect.stringMatching(/row map of "public"\."s" fails.*t_n_check/),
    });
    expect(await statusOf(db)).toMatchObject({
      status: 'FAILED',
      status_before: 'IN_PROGRESS',
      error: { code: 'MAP_FAILS' },
    });
    expect((await db.pool.query('select n from s where id = 5')).rows).toEqual([{ n: -1 }]); // the application's write stands
    await db.pool.query('update s set n = 1 where id = 5');
    expect(await db.run(migrationOf())).toMatchObject({ status: 'COMPLETED', error: null });
  });

  test('the message of a failure holds no values of the row but its key', async () => {
    const db = await migrationDatabase(tables);
    await db.run(migrationOf({ cutover: { writes: 'operator' } }), { until: 'IN_PROGRESS' });
    await db.pool.query("update s set n = -1, tag = 'confidential' where id = 5");
    const error = await failureOf(db.run(migrationOf()));
    expect(JSON.stringify([error.message, await statusOf(db)])).not.toContain('confidential');
  });

  test.each([
    ['a unique constraint', 'create table t (id bigint primary key, n int, tag text unique)'],
    [
      'a unique index on an expression',
      'create table t (id bigint primary key, n int, tag text); create unique index t_low on t (lower(tag))',
    ],
  ])('%s of T that S has come to break: both rows are named; mended, it goes on', async (_, target) => {
    const db = await migrationDatabase(`${tables}drop table t; ${target}`);
    await db.run(migrationOf(), { until: 'SHADOWING' });
    await db.pool.query("update s set tag = 'twice' where id in (5, 250)");
    const error = await failureOf(db.run(migrationOf()));
    expect(error).toMatchObject({ code: 'UNIQUE_VIOLATED', exitCode: 7, needsHuman: true });
    expect(error.message).toMatch(/twice|\b5\b.*\b250\b/);
    expect(await statusOf(db)).toMatchObject({ status: 'FAILED', status_before: 'IN_PROGRESS' });
    await db.pool.query("update s set tag = 'once' where id = 250");
    expect(await db.run(migrationOf())).toMatchObject({
      status: 'COMPLETED',
      verification: { missing: 0, extra: 0, different: 0 },
    });
  });
});

describe('query logs', () => {
  test.each<[string, (folder: string) => Promise<string>]>([
    ['a file that is not there', async (folder) => join(folder, 'none.json')],
    ['a folder that is not there', async (folder) => join(folder, 'none', '*.json')],
    ['a pattern that matches nothing', async (folder) => join(folder, '*.json')],
    ['a folder', async (folder) => folder],
  ])('%s', async (_, path) => {
    const db = await migrationDatabase(tables);
    const log = await path(await temporaryFolder());
    const error = await failureOf(db.run(migrationOf({ queryLog: { path: log } })));
    expect(error).toMatchObject({
      code: 'LOG_UNREADABLE',
      exitCode: 2,
      hint: expect.stringMatching(/queryLog\.path/),
    });
    expect(error.message).toContain(log.replace('/*.json', ''));
    // the migration is none the worse for it
    expect((await db.run(migrationOf())).status).toBe('COMPLETED');
  });

  test('a log that cannot be read is told before anything is installed', async () => {
    const db = await migrationDatabase(tables);
    await failureOf(db.run(migrationOf({ queryLog: { path: '/nowhere/log.json' } })));
    expect((await db.pool.query("select relkind from pg_class where oid = 't'::regclass")).rows).toEqual([
      { relkind: 'r' },
    ]);
  });

  test.each<[string, string | Buffer]>([
    ['empty', ''],
    ['garbage', Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 256))],
    ['not a log', '{"a": 1}\n[]\nnull\n"text"\n{"timestamp": 5}\n'],
    [
      'torn in the middle of a line',
      '{"timestamp":"2024-01-01 00:00:00.000 UTC","user":"app","dbname":"x","pid":1,"error_severity":"LOG","message":"statement: select * from s whe',
    ],
    [
      'full of nothing but statements that no parser takes',
      `${'{"timestamp":"2024-01-01 00:00:00.000 UTC","dbname":"x","pid":1,"error_severity":"LOG","message":"statement: selec * fro s wher (("}\n'.repeat(50)}`,
    ],
  ])('a file that is %s crashes nothing', async (_, content) => {
    const db = await migrationDatabase(tables);
    const log = join(await temporaryFolder(), 'log.json');
    await writeFile(log, content);
    expect((await db.run(migrationOf({ queryLog: { path: log } }))).status).toBe('COMPLETED');
  });

  test('a log that is emptied, and then removed, while the migration runs', async () => {
    const db = await migrationDatabase(tables);
    const log = join(await temporaryFolder(), 'log.json');
    await writeFile(log, '{"timestamp": "x"}\n'.repeat(100));
    const file = { queryLog: { path: log }, cutover: { reads: 'operator' } } as const;
    await db.run(migrationOf(file), { until: 'READY' });
    const running = db.run(
      migrationOf({
        ...file,
        cutover: { reads: 'when-confident' },
        copy: { chunkRows: 20, rowsPerSecond: 300 },
      }),
      {
        onEvent: (event) => {
          if (event.type === 'progress') void writeFile(log, '');
        },
      },
    );
    expect((await running).status).toBe('COMPLETED');
  });
});

describe('a saved model that does not fit', () => {
  /** A migration in SHADOWING that finds a model of its name in the registry. */
  async function withModel(change: (manifest: Record<string, unknown>) => void, horizonSeconds: number) {
    const db = await migrationDatabase(tables);
    const trained = await trainModel({
      accesses: movingHotSet(),
      now: 90,
      horizonSeconds,
      budget: 0.1,
      seed: 1,
    });
    const { path } = await saveModel(db.ctx.config.modelsDir, 'm', trained.predictor);
    trained.predictor.dispose();
    const manifest = JSON.parse(await readFile(join(path, 'manifest.json'), 'utf8'));
    change(manifest);
    await writeFile(join(path, 'manifest.json'), JSON.stringify(manifest));
    return db;
  }
  const warnings = async (db: MigrationDatabase) =>
    (
      await db.pool.query(
        "select detail->>'message' as message from foreshadow.migration_event where kind = 'warning'",
      )
    ).rows;

  test('other features: it is said, and the migration goes on without it', async () => {
    const db = await withModel(
      (manifest) => (manifest.feature_spec as { columns: string[] }).columns.pop(),
      15,
    );
    expect((await db.run(migrationOf({ predict: { horizon: '15s' } }))).status).toBe('COMPLETED');
    expect(await warnings(db)).toEqual([
      { message: expect.stringMatching(/model m\/0001 is refused: .*feature/) },
    ]);
  });

  test('another horizon, since the file was changed: it is said, and the migration goes on without it', async () => {
    const db = await withModel(() => {}, 15);
    expect((await db.run(migrationOf({ predict: { horizon: '30s' } }))).status).toBe('COMPLETED');
    expect(await warnings(db)).toEqual([
      { message: expect.stringMatching(/model m\/0001 is refused: .*other features/) },
    ]);
  });
});

describe('a database that cannot be reached', () => {
  const open = (url: string) =>
    failureOf(createContext({ databaseUrl: url, modelsDir: 'models', logLevel: 'silent' }));
  const expected = { code: 'DATABASE_UNREACHABLE', exitCode: 6, hint: expect.stringMatching(/DATABASE_URL/) };

  test('nobody listens, or nobody has that name', async () => {
    expect(await open('postgres://someone:secret@127.0.0.1:1/x')).toMatchObject(expected);
    expect(await open('postgres://someone:secret@host.invalid/x')).toMatchObject(expected);
    expect(await open('postgres:///x?host=/nowhere')).toMatchObject(expected);
  });

  test('a wrong password, a role or a database that is not there; the password is never said', async () => {
    const db = await migrationDatabase();
    const change = (edit: (url: URL) => void) => {
      const url = new URL(db.url);
      edit(url);
      return url.href;
    };
    for (const url of [
      change((url) => (url.password = 'sesame')),
      change((url) => ([url.username, url.password] = ['nobody', 'sesame'])),
      change((url) => (url.pathname = '/nowhere')),
    ]) {
      const error = await open(url);
      expect(error).toMatchObject(expected);
      expect(`${error.message} ${JSON.stringify(error)}`).not.toContain('sesame');
    }
  });
});
