import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Client, QueryConfig } from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { type AccessMiner, createAccessMiner, createAccessResolver } from '../../src/access/index.ts';
import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../src/db/embedded.ts';
import { type ExecutedStatement, type FollowLogOptions, LogFollower, readLog } from '../../src/logs/index.ts';
import { afterFile, type TestDatabase, testDatabase } from '../support/database.ts';
import { describeOlder, olderBinaries, olderServer } from '../support/older-server.ts';

/** A server that writes everything in every format that it has. */
const linePrefix = '%m [%10p] %c %l %q%u@%d <%a> %i %e %r: ';
const everyFormat = (...formats: string[]) => ({
  log_destination: formats.join(','),
  log_line_prefix: linePrefix,
});
let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await startEmbedded({ settings: everyFormat('jsonlog', 'csvlog', 'stderr') });
  afterFile(() => server.stop());
});

interface Reading {
  readonly glob: string;
  readonly options: FollowLogOptions;
}
/** Its log, in each format. */
function readings({ dataDirectory, logGlob }: EmbeddedPostgres): Reading[] {
  const at = (ending: string) => join(dataDirectory, 'log', `*.${ending}`);
  // everything has been written when a follower begins to read
  const options = { holdSeconds: 0.3 };
  return [
    // 14 writes no jsonlog
    ...(logGlob === null ? [] : [{ glob: at('json'), options }]),
    { glob: at('csv'), options },
    { glob: at('log'), options: { ...options, linePrefix } },
  ];
}

async function followAll(on: EmbeddedPostgres): Promise<(Reading & { follower: LogFollower })[]> {
  return Promise.all(
    readings(on).map(async (reading) => {
      const follower = new LogFollower(reading.glob, reading.options);
      await follower.poll();
      return { ...reading, follower };
    }),
  );
}

/** What an application did, by its own account: 'R 5' → how often. */
type Tally = Map<string, number>;
const add = (tally: Tally, op: string, keys: readonly (number | string)[]) => {
  for (const key of new Set(keys)) tally.set(`${op} ${key}`, (tally.get(`${op} ${key}`) ?? 0) + 1);
};
const sorted = (tally: Tally) => Object.fromEntries([...tally].sort());
function tallyOf(accesses: readonly Access[]): Tally {
  const tally: Tally = new Map();
  for (const { op, key } of accesses) add(tally, op, [key]);
  return tally;
}

const tables = `
  create table orders (id bigint primary key, note text, n int not null default 0);
  create table other (id bigint primary key, note text);
  create table lines (tenant int, code text, n int, primary key (tenant, code));
  insert into orders select i, 'x' from generate_series(0, 199) i;
  insert into other select i, 'x' from generate_series(0, 199) i;
  insert into lines select i % 4, 'it''s "' || i, 0 from generate_series(0, 39) i;`;

async function ordersMiner(database: TestDatabase): Promise<AccessMiner> {
  const key = [{ name: 'id', type: 'bigint' }];
  const resolver = await createAccessResolver({
    schema: 'public',
    table: 'orders',
    key,
    columns: ['id', 'note', 'n'],
  });
  return createAccessMiner(resolver, { database: database.name });
}

/** Follows the log until the marker comes by; the server's log collector is a moment behind the server. */
async function followUntil(follower: LogFollower, marker: string): Promise<ExecutedStatement[]> {
  const statements: ExecutedStatement[] = [];
  const deadline = performance.now() + 20_000;
  while (!statements.some(({ sql }) => sql.includes(marker))) {
    if (performance.now() > deadline) throw new Error(`the log never told of ${marker}`);
    statements.push(...(await follower.poll()));
    await sleep(50);
  }
  return statements;
}

/** A client that records what it did to which rows, once the server has said that it worked. */
class Application {
  readonly truth: Tally;
  private readonly client: Client;
  private readonly protocol: 'simple' | 'extended' | 'named';

  constructor(client: Client, protocol: Application['protocol'], truth: Tally) {
    this.client = client;
    this.protocol = protocol;
    this.truth = truth;
  }

  /** @param sql with $1 …, which the simple protocol gets as literals */
  async run(op: 'R' | 'W', keys: (number | string)[], sql: string, values: unknown[] = []): Promise<void> {
    let query: QueryConfig = { text: sql, values };
    if (this.protocol === 'named')
      query = { ...query, name: `q${sql.length}_${Buffer.from(sql).toString('hex').slice(0, 40)}` };
    if (this.protocol === 'simple') {
      query = { text: sql.replace(/\$(\d+)/g, (_, k) => this.literal(values[Number(k) - 1])) };
    }
    try {
      await this.client.query(query);
    } catch {
      return;
    }
    add(this.truth, op, keys);
  }

  private literal(value: unknown): string {
    if (value === null) return 'null';
    if (Array.isArray(value)) return `'{${value.join(',')}}'`;
    return typeof value === 'number' ? String(value) : this.client.escapeLiteral(String(value));
  }
}

async function shop(app: Application, client: Client, rng: () => number, rounds: number): Promise<void> {
  // a skewed choice, so that keys differ in their counts
  const some = () => Math.floor(rng() ** 3 * 200);
  let next = 1000 + Math.floor(rng() * 1e9) * 1000;
  for (let i = 0; i < rounds; i++) {
    const [a, b, c, fresh] = [some(), some(), some(), next++];
    await app.run('R', [a], 'select * from orders where id = $1', [a]);
    await app.run('R', [a, b], 'select * from orders where id in ($1, $2)', [a, b]);
    await app.run('R', [a, b, c], 'select * from orders where id = any($1)', [[a, b, c]]);
    await app.run(
      'R',
      [b],
      'select o.*, x.note from orders o join other x using (id) where o.id = $1 and x.id = $2',
      [b, b],
    );
    await app.run('W', [a], `update orders set note = $1, n = n + 1 where id = $2`, [`it's $${i}, '\n`, a]);
    await app.run('W', [fresh], 'insert into orders (note, id) values ($1, $2)', [null, fresh]);
    await app.run('W', [fresh], 'delete from orders where id = $1', [fresh]);
    // none of these counts: another table, and four ways to fail
    await app.run('R', [], 'select * from other where id = $1', [a]);
    await app.run('W', [a], 'insert into orders (id, note) values ($1, $2)', [a, 'there is one']);
    await app.run('R', [b], 'select 1 / (id - id) from orders where id = $1', [b]);
    await app.run('R', [c], 'select * from orders where id = $1', ['no number']);
    await app.run('R', [c], 'select nothing from orders where id = $1', [c]);
    // an error, and then everything else until the end of the transaction
    await client.query('begin');
    await app.run('W', [b], 'update orders set n = $1 where id = $2', [i, b]);
    await app.run('W', [c], 'update orders set n = $1 where id = $2', ['x', c]);
    await app.run('R', [c], 'select * from orders where id = $1', [c]);
    await client.query('rollback');
  }
}

const howToLog: [string, string[]][] = [
  ['log_statement = all', ["log_statement = 'all'"]],
  [
    'log_statement = all, log_min_duration_statement = 0',
    ["log_statement = 'all'", 'log_min_duration_statement = 0'],
  ],
  ['log_statement = all, log_duration', ["log_statement = 'all'", 'log_duration = on']],
  ['log_min_duration_statement = 0', ["log_statement = 'none'", 'log_min_duration_statement = 0']],
  [
    'log_statement = mod, log_min_duration_statement = 0',
    ["log_statement = 'mod'", 'log_min_duration_statement = 0'],
  ],
];

async function prepare(database: TestDatabase, settings: string[]): Promise<void> {
  await database.pool.query(tables);
  for (const setting of settings) await database.pool.query(`alter database ${database.name} set ${setting}`);
}

/** Runs applications in all protocols at once, and compares what they did with what the log says. */
async function compareWithTruth(on: EmbeddedPostgres, settings: string[]): Promise<void> {
  const database = await testDatabase(on);
  await prepare(database, settings);
  const followers = await followAll(on);
  const began = Date.now() / 1000 - 1;
  const truth: Tally = new Map();
  await Promise.all(
    (['simple', 'extended', 'named'] as const).map(async (protocol, k) => {
      const client = await database.client({ application_name: 'shop' });
      await shop(new Application(client, protocol, truth), client, seededRng(k), 12);
      await client.end();
    }),
  );
  const ourselves = await database.client({ application_name: 'foreshadow lane 1' });
  await ourselves.query('update orders set n = 0 where id = 5');
  await ourselves.end();

  const extra = await database.client({ application_name: 'shop' });
  // a portal that is read in parts is one execution
  const parts = { text: 'select * from orders where id = any($1)', values: [[1, 2, 3, 4, 5]], rows: 2 };
  await extra.query(parts as QueryConfig);
  add(truth, 'R', [1, 2, 3, 4, 5]);
  await extra.query('select * from orders where id = 1; update orders set n = 1 where id = -0 or id = 7');
  add(truth, 'R', [1]);
  add(truth, 'W', [0, 7]);
  await extra.query('select * from orders where n > 5');
  await extra.query("select 'the end'");
  await extra.end();

  for (const { glob, options, follower } of followers) {
    const statements = await followUntil(follower, "'the end'");
    const miner = await ordersMiner(database);
    const accesses = miner.take(statements);
    expect(sorted(tallyOf(accesses)), glob).toEqual(sorted(truth));
    for (const { at } of accesses) expect(at).toBeGreaterThan(began);
    expect(miner.statistics()).toMatchObject({
      unresolved: 1,
      unresolvedShapes: [
        { shape: 'select * from orders where n > ?', count: 1, reason: 'no condition on the key' },
      ],
    });
    expect(miner.statistics().filtered, glob).toBeGreaterThanOrEqual(1);
    expect(follower.counters.malformed, glob).toBe(0);

    // reading the same files as a whole tells the same story
    const whole = await ordersMiner(database);
    const again: Access[] = [];
    for await (const batch of readLog(glob, { ...options, chunkBytes: 50_000 }))
      again.push(...whole.take(batch));
    expect(sorted(tallyOf(again)), glob).toEqual(sorted(truth));
  }
}

describe('what applications did is what the log says', () => {
  test.each(howToLog)('with %s', async (_, settings) => {
    await compareWithTruth(server, settings);
  });

  test('for a composite key with awkward text', async () => {
    const database = await testDatabase(server);
    await prepare(database, ["log_statement = 'all'"]);
    const followers = await followAll(server);
    const truth: Tally = new Map();
    const rng = seededRng(9);
    for (const protocol of ['simple', 'extended', 'named'] as const) {
      const client = await database.client();
      const app = new Application(client, protocol, truth);
      for (let i = 0; i < 20; i++) {
        const [k, l] = [Math.floor(rng() * 40), Math.floor(rng() * 40)];
        const [tenant, code, tenant2, code2] = [k % 4, `it's "${k}`, l % 4, `it's "${l}`];
        const [one, two] = [JSON.stringify([String(tenant), code]), JSON.stringify([String(tenant2), code2])];
        await app.run('R', [one], 'select * from lines where tenant = $1 and code = $2', [tenant, code]);
        await app.run('R', [one, two], 'select * from lines where (code, tenant) in (($1, $2), ($3, $4))', [
          code,
          tenant,
          code2,
          tenant2,
        ]);
        await app.run('W', [one], 'update lines set n = n + 1 where (tenant, code) = ($1, $2)', [
          tenant,
          code,
        ]);
        await app.run('W', [one], 'update lines set code = $2 where tenant = $1 and code = $2', [
          tenant,
          code,
        ]);
      }
      if (protocol === 'named') await client.query("select 'the end'");
      await client.end();
    }
    const key = [
      { name: 'tenant', type: 'integer' },
      { name: 'code', type: 'text' },
    ];
    for (const { glob, follower } of followers) {
      const miner = createAccessMiner(await createAccessResolver({ schema: 'public', table: 'lines', key }), {
        database: database.name,
      });
      const found = miner.take(await followUntil(follower, "'the end'"));
      expect(sorted(tallyOf(found)), glob).toEqual(sorted(truth));
      expect(miner.statistics().unresolved, glob).toBe(0);
    }
  });
});

describeOlder('on an older server', () => {
  let older: EmbeddedPostgres;
  beforeAll(async () => {
    // 14 knows no jsonlog and would not start
    const formats = olderBinaries?.includes('/14/') ? ['csvlog', 'stderr'] : ['jsonlog', 'csvlog', 'stderr'];
    older = await olderServer({ settings: everyFormat(...formats) });
  });
  test.each(howToLog.slice(0, 4))('with %s', async (_, settings) => {
    await compareWithTruth(older, settings);
  });
  test.each(['simple', 'extended', 'prepared'])('pgbench in %s mode', async (mode) => {
    await comparePgbench(older, mode);
  });
});

const pgbench = olderBinaries === null ? '' : join(olderBinaries, 'pgbench');

/** pgbench counts in the table what it does, one read for each write. */
async function comparePgbench(on: EmbeddedPostgres, mode: string): Promise<void> {
  const database = await testDatabase(on);
  await prepare(database, ["log_statement = 'all'"]);
  const followers = await followAll(on);
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-pgbench-'));
  try {
    const script = join(folder, 'script.sql');
    const statements = [
      '\\set id random_zipfian(1, 200, 1.2) - 1',
      '\\set delta random(-5, -1)',
      'begin;',
      'update orders set n = n + 1, note = :delta where id = :id;',
      'select n + :delta from orders where id = :id;',
      'commit;',
    ];
    await writeFile(script, statements.join('\n'));
    const args = ['-n', '-M', mode, '-f', script, '-c', '4', '-t', '100', '--random-seed=3', database.url];
    await promisify(execFile)(pgbench, args, { timeout: 60_000 });
  } finally {
    await rm(folder, { recursive: true });
  }
  // a new connection: the pool's are older than the setting, and log nothing
  const client = await database.client();
  const { rows } = await client.query<{ id: string; n: number }>('select id, n from orders where n > 0');
  await client.query("select 'the end'");
  await client.end();
  const truth: Tally = new Map(
    rows.flatMap(({ id, n }) => [
      [`R ${id}`, n],
      [`W ${id}`, n],
    ]),
  );
  for (const { glob, follower } of followers) {
    const miner = await ordersMiner(database);
    const found = tallyOf(miner.take(await followUntil(follower, "'the end'")));
    expect(
      [...found.values()].reduce((a, b) => a + b, 0),
      glob,
    ).toBe(800);
    expect(sorted(found), glob).toEqual(sorted(truth));
    // the one without a key is the question above
    expect(miner.statistics(), glob).toMatchObject({ resolved: 800, unresolved: 1 });
  }
}

describe.skipIf(!existsSync(pgbench))(
  'what pgbench did is what the log says (skipped without pgbench)',
  () => {
    test.each(['simple', 'extended', 'prepared'])('in %s mode', async (mode) => {
      await comparePgbench(server, mode);
    });
  },
);
