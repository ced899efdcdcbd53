import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { type Rng, seededRng } from '../../src/core/rng.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import { writeText } from './csv.ts';
import { driftingZipf } from './drifting-zipf.ts';

export interface PostgresLogOptions {
  readonly seed: number;
  /** transactions; each is one to five statements */
  readonly transactions: number;
  /** rows of the table `accounts` */
  readonly rows: number;
  /** how long the transactions are spread over, in seconds of real time */
  readonly seconds: number;
}

const schema = `
  create table branches (bid int primary key, bbalance int not null);
  create table accounts (aid int primary key, bid int not null, abalance int not null, filler text);
  create table history (aid int, bid int, delta int, mtime timestamptz not null default now());
  create index on accounts (bid);
  insert into branches select g, 0 from generate_series(1, 10) g;`;

/**
 * Runs pgbench-like transactions on a throw-away server that logs every statement, and saves what it has written.
 *
 * Lines that hold a file's path (of the socket, at the start) are left out; nothing else is. The same seed gives the
 * same statements, never the same timestamps, process numbers and ports: it is a real server's log.
 *
 * @param out gzipped when it ends in .gz
 * @returns the number of lines
 */
export async function writePostgresLog(options: PostgresLogOptions, out: string): Promise<number> {
  await using server = await startEmbedded({
    settings: { log_statement: 'all', log_min_duration_statement: '-1', log_timezone: 'UTC' },
  });
  if (server.logGlob === null) throw new Error('this server cannot write jsonlog');
  await withClient(server.url, 'setup', async (client) => {
    await client.query(schema);
    await client.query(
      "insert into accounts select g, 1 + g % 10, 0, '' from generate_series(1, $1::int) g",
      [options.rows],
    );
  });
  await transact(server.url, options);
  const folder = dirname(server.logGlob);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
  const lines = texts
    .join('')
    .split('\n')
    .filter((line) => line !== '' && !/"[^"]*(?:^|[\s"])\/[a-z]+\/[^"]*"/i.test(line));
  await writeText(out, [...lines, ''].join('\n'));
  return lines.length;
}

/** Three applications take the transactions in turn, at random moments whose mean distance is even. */
async function transact(
  url: string,
  { seed, transactions, rows, seconds }: PostgresLogOptions,
): Promise<void> {
  const rng = seededRng(seed);
  const { accesses } = driftingZipf({ seed, events: transactions, keys: rows, days: 1 });
  await withClient(url, 'shop', (shop) =>
    withClient(url, 'mobile', (mobile) =>
      withClient(url, 'report', async (report) => {
        const began = performance.now();
        let due = began;
        for (const { key } of accesses) {
          due += -Math.log(1 - rng()) * ((seconds * 1000) / transactions);
          await sleep(Math.max(0, due - performance.now()));
          await transaction({ shop, mobile, report }, Number(key), rng);
        }
      }),
    ),
  );
}

type Applications = Readonly<Record<'shop' | 'mobile' | 'report', Client>>;

async function transaction({ shop, mobile, report }: Applications, aid: number, rng: Rng): Promise<void> {
  const kind = rng();
  if (kind < 0.42) {
    await mobile.query({
      name: 'balance',
      text: 'select abalance from accounts where aid = $1',
      values: [aid],
    });
  } else if (kind < 0.72) {
    await shop.query(`SELECT abalance FROM accounts WHERE aid = ${aid};`);
  } else if (kind < 0.86) {
    const delta = Math.floor(rng() * 10_001) - 5_000;
    await shop.query('BEGIN;');
    await shop.query(`UPDATE accounts SET abalance = abalance + ${delta} WHERE aid = ${aid};`);
    await shop.query(`UPDATE branches SET bbalance = bbalance + ${delta} WHERE bid = ${1 + (aid % 10)};`);
    await shop.query(`INSERT INTO history (aid, bid, delta) VALUES (${aid}, ${1 + (aid % 10)}, ${delta});`);
    await shop.query('END;');
  } else if (kind < 0.93) {
    await mobile.query('select aid, abalance from accounts where aid = any ($1)', [[aid, aid + 1, aid + 2]]);
  } else if (kind < 0.96) {
    await report.query('select count(*), sum(abalance) from accounts where bid = $1', [1 + (aid % 10)]);
  } else if (kind < 0.985) {
    await report.query('select bid, sum(delta) from history group by bid order by bid');
  } else if (kind < 0.995) {
    await shop.query(`SELECT aid FROM accounts ORDER BY abalance DESC LIMIT ${5 + Math.floor(rng() * 3)};`);
  } else {
    await shop.query(`UPDATE accounts SET abalance = abalance / 0 WHERE aid = ${aid};`).catch(() => {});
  }
}

async function withClient<T>(url: string, name: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, application_name: name });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
