import type { ClientBase } from 'pg';

/** A session (or prepared transaction) that a cutover would have to wait for. */
export interface Blocker {
  /** null for a prepared transaction */
  readonly pid: number | null;
  readonly gid: string | null;
  readonly who: string;
  readonly age_s: number;
  readonly state: string;
  /** the first 200 characters of its query; never logged with parameters */
  readonly query: string;
}

const blockerColumns = `a.pid, p.gid, coalesce(a.usename::text, p.owner::text, '') as who,
  coalesce(extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared)), 0)::float8 as age_s,
  coalesce(a.state, 'prepared') as state, left(coalesce(a.query, 'prepared transaction ' || p.gid), 200) as query`;

/**
 * Transactions that hold S against an EXCLUSIVE lock and have been open for longer than `olderThan` seconds. Read from
 * pg_locks, because prepared transactions are not in pg_stat_activity: their pid is null. Their own
 * transaction id, which they hold a lock on too, leads to the gid.
 */
export async function lockHolders(
  client: ClientBase,
  relation: number,
  olderThan: number,
): Promise<Blocker[]> {
  const { rows } = await client.query<Blocker>(
    `select distinct ${blockerColumns}
       from pg_locks l
       left join pg_stat_activity a on a.pid = l.pid
       left join pg_locks x on l.pid is null and x.pid is null and x.virtualtransaction = l.virtualtransaction
                           and x.locktype = 'transactionid' and x.mode = 'ExclusiveLock'
       left join pg_prepared_xacts p on p.transaction = x.transactionid
      where l.locktype = 'relation' and l.relation = $1 and l.granted and l.mode <> 'AccessShareLock'
        and l.database = (select oid from pg_database where datname = current_database())
        and l.pid is distinct from pg_backend_pid()
        and coalesce(extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared)), 0) > $2`,
    [relation, olderThan],
  );
  return rows;
}

/**
 * Sessions of this database that may still read by a snapshot from before `instant`. Writers queued for S are left out
 * (the guard trigger answers them); those that queue to lock rows (SELECT … FOR UPDATE) only where the application is
 * known to use READ COMMITTED, since no trigger fires for a read and isolation cannot be seen from outside. Such a reader would reach the new table by name and find rows missing, without an error.
 *
 * A transaction sees pg_stat_activity as it was when it first looked, so that view is thrown away before each look: else
 * the sessions that came since would be missed, and those that ended waited for. A session whose start we may not see
 * (another role's, without pg_read_all_stats) counts as older.
 */
export async function olderSnapshots(
  client: ClientBase,
  relation: number,
  instant: Date | string,
  isolation: 'any' | 'read-committed' = 'read-committed',
): Promise<(Blocker & { readonly queued: boolean })[]> {
  await client.query('select pg_catalog.pg_stat_clear_snapshot()');
  const { rows } = await client.query<Blocker & { queued: boolean }>(
    `select ${blockerColumns},
            exists (select 1 from pg_locks l where l.pid = a.pid and l.relation = $1 and not l.granted) as queued
       from pg_stat_activity a left join pg_prepared_xacts p on false
      where a.datname = current_database() and a.pid <> pg_backend_pid()
        and coalesce(a.backend_type, '') not in ('autovacuum worker', 'walsender')
        and a.backend_xmin is not null and coalesce(a.xact_start, '-infinity') < $2::timestamptz
        and not exists (select 1 from pg_locks l where l.pid = a.pid and l.relation = $1 and not l.granted
                           and ($3 or l.mode <> 'RowShareLock'))`,
    [relation, instant, isolation === 'read-committed'],
  );
  return rows;
}

export function sayBlockers(blockers: readonly Blocker[]): string {
  return blockers
    .slice(0, 3)
    .map(
      (b) =>
        `${b.pid === null ? `prepared transaction ${b.gid}` : `pid ${b.pid}`} (${b.who}, ${b.age_s.toFixed(1)} s, ${b.state}: ${b.query.slice(0, 80)})`,
    )
    .join('; ');
}
