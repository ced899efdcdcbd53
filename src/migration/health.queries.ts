import type { Pool } from 'pg';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import { isOver } from './states.ts';
import { type Migration, recordEvent } from './status.store.ts';

/** Something that is not wrong yet, and slows readers down or fills the disk if nobody looks. */
export interface Warning {
  readonly kind: 'key-log-size' | 'pinned-snapshot';
  readonly message: string;
}

/** A warning, and what it is about: the same as long as it goes on. */
interface Finding extends Warning {
  readonly about: string;
}

export interface HealthLimits {
  /** changes that wait in the key log */
  readonly rows: number;
  /** of the key log with its index; it never shrinks while a migration runs */
  readonly bytes: number;
  /** age of a transaction in seconds, from which on what it keeps alive counts */
  readonly seconds: number;
}

export const healthLimits: HealthLimits = { rows: 100_000, bytes: 2 ** 30, seconds: 60 };

/** A warning about the same is recorded again after this many seconds. */
const saidAgainAfter = 600;

const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;

/** How the key log of a migration fares; nothing where there is none. */
export async function warningsOf(
  pool: Pool,
  migration: Migration,
  limits: HealthLimits = healthLimits,
): Promise<Warning[]> {
  return (await findings(pool, migration, limits)).map(({ kind, message }) => ({ kind, message }));
}

/** Writes down as events what was not said lately. @returns the messages of the new ones */
export async function recordWarnings(
  pool: Pool,
  migration: Migration,
  limits: HealthLimits = healthLimits,
): Promise<string[]> {
  const said: string[] = [];
  for (const finding of await findings(pool, migration, limits)) {
    const { rowCount } = await pool.query(
      `select 1 from foreshadow.migration_event
        where migration_id = $1 and kind = 'warning' and detail ->> 'about' = $2
          and at > clock_timestamp() - make_interval(secs => $3) limit 1`,
      [migration.id, finding.about, saidAgainAfter],
    );
    if (rowCount) continue;
    await recordEvent(pool, migration.id, 'warning', { ...finding });
    said.push(finding.message);
  }
  return said;
}

async function findings(pool: Pool, migration: Migration, limits: HealthLimits): Promise<Finding[]> {
  const { physical, status, plan } = migration;
  if (!physical || isOver(status)) return [];
  try {
    if (status === 'COMPLETED')
      return physical.wayBack
        ? await sizeOf(pool, physical.wayBack.plan.names.keyLog, limits, wayBackWaits)
        : [];
    return [...(await sizeOf(pool, plan.names.keyLog, limits, lanesWait)), ...(await pinned(pool, limits))];
  } catch (error) {
    if (codeOf(error) === sqlstate.undefinedTable) return []; // the migration ended meanwhile
    throw error;
  }
}

const lanesWait = 'the lanes do not keep up, or nobody runs the migration';
const wayBackWaits =
  'the old table is not kept in step; hand the migration to the service, use "foreshadow run FILE --stay", or finalize it';

/** Changes in a key log that no lane has taken yet, counted up to `most`. */
export async function waiting(pool: Pool, keyLog: string, most: number): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    `select count(*)::float8 as n from (select 1 from ${keyLog} limit $1) waiting`,
    [most],
  );
  return rows[0]?.n ?? 0;
}

async function sizeOf(pool: Pool, keyLog: string, limits: HealthLimits, why: string): Promise<Finding[]> {
  const { rows } = await pool.query<{ bytes: number }>(
    'select pg_total_relation_size($1::regclass)::float8 as bytes',
    [keyLog],
  );
  const found = { rows: await waiting(pool, keyLog, limits.rows + 1), bytes: rows[0]?.bytes ?? 0 };
  if (found.rows <= limits.rows && found.bytes <= limits.bytes) return [];
  const message =
    found.rows > limits.rows
      ? `more than ${limits.rows} changes wait in the key log (${mib(found.bytes)}): ${why}`
      : `the key log takes ${mib(found.bytes)}, which are given back when the migration ends`;
  return [{ kind: 'key-log-size', about: 'key-log-size', message }];
}

/**
 * Transactions whose snapshot or id keeps dead rows of this database from being vacuumed: the key log's are in every
 * lookup's way then. Prepared transactions too; a vacuum's own snapshot holds nobody back.
 */
async function pinned(pool: Pool, limits: HealthLimits): Promise<Finding[]> {
  const { rows } = await pool.query<{ about: string; who: string; age: number }>(
    `select format('pinned-snapshot %s %s', a.pid, a.xact_start) as about,
            format('pid %s (%s, %s)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no application name')) as who,
            extract(epoch from clock_timestamp() - a.xact_start)::float8 as age
       from pg_stat_activity a
      where a.datname = current_database() and a.pid <> pg_backend_pid()
        and (a.backend_xmin is not null or a.backend_xid is not null)
        and a.xact_start < clock_timestamp() - make_interval(secs => $1)
        and a.backend_type <> 'autovacuum worker'
        and not exists (select 1 from pg_stat_progress_vacuum v where v.pid = a.pid)
     union all
     select format('pinned-snapshot %s %s', p.gid, p.prepared), format('prepared transaction %s (%s)', p.gid, p.owner),
            extract(epoch from clock_timestamp() - p.prepared)::float8
       from pg_prepared_xacts p
      where p.database = current_database() and p.prepared < clock_timestamp() - make_interval(secs => $1)
      order by 3 desc limit 5`,
    [limits.seconds],
  );
  return rows.map(({ about, who, age }) => ({
    kind: 'pinned-snapshot',
    about,
    message: `${who} has kept a snapshot for ${Math.floor(age)} s: the key log cannot be cleared of dead rows, and lookups through the overlay become slow; reads through the overlay are not recommended until it ends`,
  }));
}
