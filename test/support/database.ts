import { randomBytes } from 'node:crypto';
import { Client, Pool, type PoolConfig } from 'pg';
import { inject } from 'vitest';

/** A database of its own for one test file, on the run's server. Cleaned up by itself at the end of the file. */
export interface TestDatabase {
  readonly name: string;
  /** as superuser */
  readonly url: string;
  /** at most 20 connections, opened when needed */
  readonly pool: Pool;
  /** a connection of its own, open; closed at the end of the file if the test does not */
  client(config?: PoolConfig): Promise<Client>;
}

interface Tracked {
  readonly serverUrl: string;
  readonly database: TestDatabase;
  readonly clients: Set<Client>;
}
const tracked: Tracked[] = [];
const finallyDo: (() => Promise<void>)[] = [];

/** Runs at the end of the file, after the databases are gone. For servers and processes that a test starts. */
export function afterFile(work: () => Promise<void>): void {
  finallyDo.push(work);
}

/**
 * For `beforeAll`, or inside a test. Takes a few tens of milliseconds.
 * @param on a server other than the run's, such as {@link olderServer}
 */
export async function testDatabase(on?: { readonly url: string }): Promise<TestDatabase> {
  const serverUrl = on?.url ?? inject('serverUrl');
  const name = `foreshadow_test_${randomBytes(6).toString('hex')}`;
  const template = on === undefined ? 'foreshadow_template' : 'template0';
  await asSuperuser(serverUrl, (client) => client.query(`create database ${name} template ${template}`));
  const url = urlOf(serverUrl, name);
  const pool = new Pool({ connectionString: url, max: 20, application_name: 'test pool' });
  // a test that ends backends would otherwise end this process, through idle and checked-out clients alike
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  const clients = new Set<Client>();
  const database: TestDatabase = {
    name,
    url,
    pool,
    client: async (config = {}) => {
      const client = new Client({ connectionString: url, application_name: 'test client', ...config });
      client.on('error', () => {});
      client.once('end', () => clients.delete(client));
      clients.add(client);
      await client.connect();
      return client;
    },
  };
  tracked.push({ serverUrl, database, clients });
  return database;
}

/** Drops the file's databases. @returns what the tests have left open in them: each is a fault of the code tested */
export async function dropTestDatabases(): Promise<string[]> {
  const leaks: string[] = [];
  for (const { serverUrl, database, clients } of tracked.splice(0)) {
    await Promise.all([...clients].map((client) => client.end().catch(() => {})));
    if (!database.pool.ended) await database.pool.end();
    leaks.push(...(await openBackends(serverUrl, database.name)));
    leaks.push(...(await rollBackPrepared(database)));
    await asSuperuser(serverUrl, async (client) => {
      leaks.push(...(await dropSlots(client, database.name)));
      await client.query(`drop database ${database.name} with (force)`);
    });
  }
  for (const work of finallyDo.splice(0).reverse()) await work();
  return leaks;
}

/** A backend outlives its client's socket for a moment, so it is asked again for up to two seconds. */
async function openBackends(serverUrl: string, name: string): Promise<string[]> {
  return asSuperuser(serverUrl, async (client) => {
    const deadline = performance.now() + 2_000;
    for (;;) {
      const { rows } = await client.query<{ what: string }>(
        `select format('backend of %L (%s): %s', application_name, state, left(query, 100)) as what
           from pg_stat_activity where datname = $1 and backend_type in ('client backend', 'walsender')`,
        [name],
      );
      if (rows.length === 0 || performance.now() > deadline) return rows.map(({ what }) => what);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
}

/** A prepared transaction cannot be dropped along with its database, and can only be ended from inside it. */
async function rollBackPrepared({ name, url }: TestDatabase): Promise<string[]> {
  return asSuperuser(url, async (client) => {
    const { rows } = await client.query<{ gid: string }>(
      'select gid from pg_prepared_xacts where database = $1',
      [name],
    );
    for (const { gid } of rows) await client.query(`rollback prepared ${client.escapeLiteral(gid)}`);
    return rows.map(({ gid }) => `prepared transaction ${gid}`);
  });
}

async function dropSlots(client: Client, name: string): Promise<string[]> {
  const { rows } = await client.query<{ slot: string }>(
    'select slot_name as slot, pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1',
    [name],
  );
  return rows.map(({ slot }) => `replication slot ${slot}`);
}

function urlOf(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

async function asSuperuser<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, application_name: 'test support' });
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
