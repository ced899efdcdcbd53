import { Client } from 'pg';
import type { TestProject } from 'vitest/node';
import { type EmbeddedPostgres, startEmbedded } from '../../src/db/embedded.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** DATABASE_URL of the server that all test files share; superuser */
    serverUrl: string;
    serverLogGlob: string;
  }
}

/** Test databases are clones of this one. Nobody may connect to it: a busy template cannot be cloned. */
export const TEMPLATE = 'foreshadow_template';
export const TEST_DATABASE_PREFIX = 'foreshadow_test_';

interface Shared {
  server: Promise<EmbeddedPostgres>;
  users: number;
}
/** Each project loads this module anew, so the one server of the run hangs on the process. */
const home = globalThis as { __foreshadowTestServer?: Shared | undefined };

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  home.__foreshadowTestServer ??= { server: start(), users: 0 };
  const shared = home.__foreshadowTestServer;
  shared.users++;
  const server = await shared.server;
  project.provide('serverUrl', server.url);
  project.provide('serverLogGlob', server.logGlob ?? '');
  return async () => {
    if (--shared.users > 0) return;
    home.__foreshadowTestServer = undefined;
    try {
      await assertNothingLeft(server.url);
    } finally {
      await server.stop();
    }
  };
}

async function start(): Promise<EmbeddedPostgres> {
  const server = await startEmbedded({
    settings: { max_connections: '200', max_prepared_transactions: '50' },
  });
  await asSuperuser(server.url, async (client) => {
    await client.query(`create database ${TEMPLATE} with is_template true allow_connections false`);
  });
  return server;
}

/** @throws when a test file has left its database behind; vitest then fails the run */
async function assertNothingLeft(url: string): Promise<void> {
  const left = await asSuperuser(url, async (client) => {
    const databases = await client.query<{ name: string }>(
      'select datname as name from pg_database where starts_with(datname, $1)',
      [TEST_DATABASE_PREFIX],
    );
    const slots = await client.query<{ name: string }>(
      `select 'replication slot ' || slot_name as name from pg_replication_slots`,
    );
    return [...databases.rows, ...slots.rows].map(({ name }) => name);
  });
  if (left.length > 0) throw new Error(`the tests have left behind: ${left.join(', ')}`);
}

async function asSuperuser<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
