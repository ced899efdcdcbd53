import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { beforeAll, expect, test } from 'vitest';
import { createAccessMiner, createAccessResolver, mineAccesses } from '../../src/access/index.ts';
import { batchesAfter, countAccesses } from '../../src/access/store.queries.ts';
import type { Access } from '../../src/core/access.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../src/db/embedded.ts';
import { readLog } from '../../src/logs/index.ts';
import { startMigration } from '../../src/pipeline.ts';
import { afterFile, type TestDatabase } from '../support/database.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';
import { type Child, start } from './child.ts';
import { until } from './ledger.ts';
import { below } from './writers.ts';

const linePrefix = '%m [%p] %c %q%u@%d/%a ';
const kills = 20;
const formats = [
  ['csvlog', 'csv'],
  ['jsonlog', 'json'],
  ['stderr', 'log'],
] as const;
let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await startEmbedded({
    settings: {
      log_destination: 'csvlog,jsonlog,stderr',
      log_line_prefix: linePrefix,
      log_filename: 'pg-%H%M%S.log',
      log_rotation_size: '128kB',
    },
  });
  afterFile(() => server.stop());
});

type Tally = Map<string, number>;
const count = (tally: Tally, op: string, key: string | number) =>
  tally.set(`${op} ${key}`, (tally.get(`${op} ${key}`) ?? 0) + 1);
const sorted = (tally: Tally) => Object.fromEntries([...tally].sort());

/** How much an application may do: so much a kill, however slow the machine is. */
interface Leave {
  statements: number;
  over: boolean;
}
const statementsEachKill = 100;

/** An application, and its own record of what it did. Only its sessions are logged. */
async function application(db: TestDatabase, tally: Tally, leave: Leave, how: string): Promise<void> {
  const client = await db.client({ application_name: 'shop', options: how });
  for (let done = 0; !leave.over; done++) {
    if (done >= leave.statements) {
      await sleep(5);
      done--;
      continue;
    }
    const key = below(50) + 1;
    const kind = below(4);
    if (kind === 0) await client.query(`select * from s where id = ${key}`);
    else if (kind === 1)
      await client.query('select *, $1::text from s\nwhere id = $2', [`it's "${key}",\n`, key]);
    else if (kind === 2)
      await client.query({ name: 'w', text: 'update s set v = $1 where id = $2', values: [key, key] });
    else await client.query('select 1 /* no key */');
    if (kind < 2) count(tally, 'R', key);
    else if (kind === 2) count(tally, 'W', key);
    await sleep(below(4));
  }
  await client.end();
}

/** What logrotate does: every file but the newest is compressed, in the place where the follower looks. */
async function compressOld(folder: string, ending: string): Promise<number> {
  const files: { path: string; at: number }[] = [];
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (name.endsWith(`.${ending}`)) files.push({ path, at: (await stat(path)).mtimeMs });
  }
  const old = files.sort((a, b) => a.at - b.at).slice(0, -2);
  for (const { path } of old) {
    const { atime, mtime } = await stat(path);
    await writeFile(`${path}.gz`, gzipSync(await readFile(path)));
    await utimes(`${path}.gz`, atime, mtime);
    await rm(path);
  }
  return old.length;
}

test(`following a log in three formats, killed ${kills} times at random, with rotation and compression: each access exactly once`, async () => {
  const db = await migrationDatabase(
    `create table s (id int primary key, v int); create table t (id int primary key, v int);
     insert into s select g, g from generate_series(1, 50) g`,
    server,
  );
  const folder = join(server.dataDirectory, 'log');
  // three migrations that are only planned, one for each format
  const followed = await Promise.all(
    formats.map(async ([format, ending]) => {
      const queryLog = { path: join(folder, `pg-*.${ending}*`), ...(format === 'stderr' && { linePrefix }) };
      return { queryLog, migration: await startMigration(db.ctx, migrationOf({ name: format, queryLog })) };
    }),
  );
  const truth: Tally = new Map();
  const leave: Leave = { statements: statementsEachKill, over: false };
  const writers = [
    '-c log_statement=all',
    '-c log_min_duration_statement=0',
    '-c log_statement=all -c log_duration=on',
  ].map((how) => application(db, truth, leave, how));

  const program = fileURLToPath(new URL('./follow-child.ts', import.meta.url));
  const names = formats.map(([format]) => format);
  const spawn = () => start(process.execPath, ['--import', 'tsx', program, db.url, ...names]);
  const ready = (child: Child) =>
    until('a follower that is ready', 60, async () => {
      if (child.process.exitCode !== null) throw new Error(child.output.stderr);
      return child.output.stdout.includes('ready');
    });
  let compressed = 0;
  let total = 0;
  let child = spawn();
  const end = async () => {
    leave.over = true;
    child.process.kill('SIGKILL');
    await child.ended;
    await Promise.allSettled(writers);
  };
  try {
    await ready(child);
    for (let kill = 0; kill < kills; kill++) {
      // the next one is up before this one ends, so that two are at it for a while
      const next = spawn();
      await ready(next);
      for (const [, ending] of formats) compressed += await compressOld(folder, ending);
      leave.statements += statementsEachKill;
      await sleep(below(200));
      expect(child.process.exitCode, child.output.stderr).toBe(null);
      child.process.kill('SIGKILL');
      await child.ended;
      child = next;
    }
    leave.over = true;
    await Promise.all(writers);
    total = [...truth.values()].reduce((a, b) => a + b, 0);
    for (const { migration } of followed)
      await until(
        `${total} accesses`,
        30,
        async () => (await countAccesses(db.ctx.pool, migration.id)) >= total,
      );
    await sleep(700); // time for what comes too often
  } finally {
    await end();
  }
  expect(total).toBeGreaterThan(1000);
  expect(compressed).toBeGreaterThan(0);

  const key = [{ name: 'id', type: 'integer' }];
  for (const { migration, queryLog } of followed) {
    const found: Tally = new Map();
    for (const batch of await batchesAfter(db.ctx.pool, migration.id, 0, 100_000))
      for (const { op, key } of batch.accesses) count(found, op, key);
    expect(sorted(found), migration.name).toEqual(sorted(truth));

    // and an uninterrupted run over what is there now says the same
    const resolver = await createAccessResolver({ schema: 'public', table: 's', key });
    const miner = createAccessMiner(resolver, { database: db.name });
    const whole: Tally = new Map();
    const batches: AsyncIterable<Access[]> = mineAccesses(miner, readLog(queryLog.path, queryLog));
    for await (const batch of batches) for (const { op, key } of batch) count(whole, op, key);
    expect(sorted(whole), migration.name).toEqual(sorted(truth));
  }
}, 300_000);
