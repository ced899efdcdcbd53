import pg from 'pg';
import type { Logger } from 'pino';
import { ForeshadowError } from '../core/errors.ts';
import { requireOwnSessions } from './own-sessions.ts';
import { codeOf, isConnectionError } from './sqlstate.ts';

export interface PoolOptions {
  readonly url: string;
  /** shown in pg_stat_activity; ours always begin with "foreshadow", so that log mining can leave them out */
  readonly applicationName: string;
  readonly max?: number;
  readonly log: Logger;
}

/**
 * The settings of every session of ours, so that no default of an operator changes what our statements mean:
 * names resolve to pg_catalog only (ours are qualified), values print the same everywhere, and a row that row
 * security would hide raises an error instead of looking deleted.
 */
const sessionSettings: Readonly<Record<string, string>> = {
  search_path: 'pg_catalog',
  datestyle: 'ISO,MDY',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  extra_float_digits: '1',
  bytea_output: 'hex',
  lc_monetary: 'C',
  array_nulls: 'on', // a key may be the text NULL
  standard_conforming_strings: 'on',
  transform_null_equals: 'off',
  xmloption: 'content',
  row_security: 'off',
  default_transaction_isolation: 'read\\ committed',
  default_transaction_read_only: 'off',
  jit: 'off', // short statements; compiling them costs more than running them
  client_connection_check_interval: '1000', // ms; a killed process must not keep its lane
  idle_in_transaction_session_timeout: '10000', // ms; nor one that is stopped or cut off its locks and its snapshot
};

/** Settings travel with the connection's start: no round trip, and none of them can be forgotten. */
function connectionConfig(options: PoolOptions): pg.ClientConfig {
  const settings = Object.entries(sessionSettings).map(([name, value]) => `-c ${name}=${value}`);
  const isUrl = /^postgres(ql)?:/.test(options.url);
  const theirs = isUrl ? new URL(options.url).searchParams.get('options') : null;
  const url = isUrl ? withoutOurs(options.url) : options.url;
  return {
    connectionString: url,
    options: [...(theirs ? [theirs] : []), ...settings].join(' '),
    application_name: options.applicationName,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  };
}

/** The session `alias` of pg_stat_activity is none of ours: those have names that begin alike, and nobody can give them others. */
export const notOursSql = (alias: string): string => `${alias}.application_name not like 'foreshadow%'`;

/** What pg would take from the URL in place of ours: our sessions are known by their names. */
function withoutOurs(url: string): string {
  const parsed = new URL(url);
  const ours = ['options', 'application_name', 'fallback_application_name'];
  if (!ours.some((name) => parsed.searchParams.has(name))) return url;
  for (const name of ours) parsed.searchParams.delete(name);
  return parsed.toString();
}

/** A pool whose errors are heard: pg ends the process on an 'error' event that nobody listens to. */
export function createPool(options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    ...connectionConfig(options),
    max: options.max ?? 8,
    idleTimeoutMillis: 30_000,
  });
  pool.on('error', (error) => options.log.warn({ err: error }, 'idle database connection lost'));
  pool.on('connect', (client) => {
    client.on('error', (error) => options.log.warn({ err: error }, 'database connection lost'));
  });
  return pool;
}

/** One connection of its own, with our session settings; the caller ends it. */
export async function openClient(options: Omit<PoolOptions, 'max'>): Promise<pg.Client> {
  // Statements that are given at once travel at once (see `together`); who waits for each answer notices nothing.
  const client = new pg.Client({ ...connectionConfig(options), pipeline: true });
  client.on('error', (error) => options.log.warn({ err: error }, 'database connection lost'));
  await client.connect();
  return client;
}

/**
 * Reached, new enough, and with sessions of our own.
 * @throws ForeshadowError DATABASE_UNREACHABLE with the reason, never with the password; BAD_CONFIG, POOLED_CONNECTION
 */
export async function checkReachable(pool: pg.Pool): Promise<{ versionNum: number; version: string }> {
  try {
    const { rows } = await pool.query<{ num: number; version: string }>(
      "select current_setting('server_version_num')::int as num, current_setting('server_version') as version",
    );
    const row = rows[0] as { num: number; version: string };
    if (row.num < 140000) {
      throw new ForeshadowError('BAD_CONFIG', `PostgreSQL ${row.version} is too old: 14 to 18 are supported`);
    }
    await requireOwnSessions(pool);
    return { versionNum: row.num, version: row.version };
  } catch (error) {
    if (error instanceof ForeshadowError) throw error;
    const code = codeOf(error) ?? '';
    if (
      isConnectionError(error) ||
      code.startsWith('28') ||
      code === '3D000' ||
      (error as Error).name === 'AggregateError'
    ) {
      const why = (error as Error).message || code;
      throw new ForeshadowError(
        'DATABASE_UNREACHABLE',
        `cannot reach the database: ${why}`,
        {},
        { cause: error },
      );
    }
    throw error;
  }
}
