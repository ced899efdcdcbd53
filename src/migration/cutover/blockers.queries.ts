import type { ClientBase } from 'pg';
import type { TablePlan } from '../../core/plan.ts';
import { prepared } from '../../db/prepared.ts';
import { together } from '../../db/tx.ts';
import { statementForm } from './statement-form.ts';

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

export const blockerColumns = `a.pid, p.gid, coalesce(a.usename::text, p.owner::text, '') as who,
  coalesce(extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared)), 0)::float8 as age_s,
  coalesce(a.state, 'prepared') as state, left(coalesce(a.query, 'prepared transaction ' || p.gid), 200) as query`;

/** A subquery: the sessions of an array of pids, as a JSON array of {@link Blocker}. */
export const blockersOf = (pids: string) =>
  `select coalesce(json_agg(b), '[]') from (select ${blockerColumns} from pg_stat_activity a
     left join pg_prepared_xacts p on false where a.pid = any (${pids})) b`;

/**
 * Transactions that hold one of these tables against an EXCLUSIVE lock and have been open for longer than `olderThan` seconds. Read from
 * pg_locks, because prepared transactions are not in pg_stat_activity: their pid is null. Their own
 * transaction id, which they hold a lock on too, leads to the gid.
 */
export async function lockHolders(
  client: ClientBase,
  relations: readonly number[],
  olderThan: number,
): Promise<Blocker[]> {
  const { rows } = await client.query<Blocker>(
    `select distinct ${blockerColumns}
       from pg_locks l
       left join pg_stat_activity a on a.pid = l.pid
       left join pg_locks x on l.pid is null and x.pid is null and x.virtualtransaction = l.virtualtransaction
                           and x.locktype = 'transactionid' and x.mode = 'ExclusiveLock'
       left join pg_prepared_xacts p on p.transaction = x.transactionid
      where l.locktype = 'relation' and l.relation = any ($1::oid[]) and l.granted and l.mode <> 'AccessShareLock'
        and l.database = (select oid from pg_database where datname = current_database())
        and l.pid is distinct from pg_backend_pid()
        and coalesce(extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared)), 0) > $2`,
    [relations, olderThan],
  );
  return rows;
}

/**
 * The sessions as they are now. A transaction sees pg_stat_activity as it was when it first looked, so that view is
 * thrown away before each look: else sessions that came since would be missed, and those that ended waited for.
 */
export async function lookAtSessions<Row extends object>(
  client: ClientBase,
  query: ReturnType<typeof prepared>,
): Promise<Row[]> {
  const [, { rows }] = await together(client, [
    () => client.query('select pg_catalog.pg_stat_clear_snapshot()'),
    () => client.query<Row>(query),
  ]);
  return rows;
}

/**
 * Functions that are not VOLATILE and may read S: their queries use the snapshot of the statement that calls them, so one
 * that queues for S meanwhile goes on with the old one. Found by the table's name in their source, or by SQL that they
 * put together themselves.
 */
export async function statementSnapshotReaders(client: ClientBase, plan: TablePlan): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select p.oid::regprocedure::text as name
       from pg_proc p join pg_language l on l.oid = p.prolang, pg_class c
      where c.oid = $1 and p.provolatile <> 'v' and p.prokind = 'f' and l.lanname not in ('c', 'internal')
        and p.pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'foreshadow'::regnamespace)
        and (strpos(lower(p.prosrc), lower(c.relname)) > 0 or p.prosrc ~* '\\mexecute\\M'
             or exists (select 1 from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.refobjid = c.oid))
      order by 1`,
    [plan.sourceOid],
  );
  return rows.map(({ name }) => name);
}

/**
 * Sessions that keep a snapshot between two statements: a REPEATABLE READ or SERIALIZABLE transaction, an open cursor, or
 * the portal of a statement with parameters that was the last one. One whose statement is under way cannot be told from
 * the outside.
 */
export function keptSnapshots(client: ClientBase): Promise<Blocker[]> {
  return lookAtSessions(
    client,
    prepared(
      `select ${blockerColumns} from pg_stat_activity a left join pg_prepared_xacts p on false
        where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_xmin is not null
          and a.state like 'idle in transaction%'`,
    ),
  );
}

export function sayBlockers(blockers: readonly Blocker[]): string {
  return blockers
    .slice(0, 3)
    .map(
      (b) =>
        `${b.pid === null ? `prepared transaction ${b.gid}` : `pid ${b.pid}`} (${b.who}, ${b.age_s.toFixed(1)} s, ${b.state}: ${statementForm(b.query)})`,
    )
    .join('; ');
}
