import type { Pool } from 'pg';
import type { TablePlan } from '../../core/plan.ts';
import { notOursSql } from '../../db/pool.ts';
import { reachedSql } from './relatives.ts';

/** A session of the application's that an attempt had to give way to. */
export interface Standing {
  readonly pid: number;
  /** when its transaction began, as text, which tells it from later ones of the session; null: we may not see it */
  readonly since: string | null;
  readonly who: string;
  readonly age_s: number;
  readonly state: string;
  readonly query: string;
}

/**
 * Sessions of clients that hold S, T, a view of theirs or a table bound to S by a foreign key in any mode, as the swap wants
 * these alone; or, where an attempt has named whom it waited for, those of `named`. Sessions of ours and all that is no
 * client's (autovacuum, walsenders, workers) are left out; of a session that we may not see we do not know that. Who waits for
 * a synchronous standby has committed: ending him frees nothing sooner, and would tell his application otherwise.
 */
export async function standingInTheWay(
  pool: Pool,
  plan: TablePlan,
  named: readonly number[] | null,
): Promise<Standing[]> {
  const { rows } = await pool.query<Standing>(
    `with recursive ${reachedSql('select unnest(array[$1, $2]::oid[])')},
     held as (select oid from reached
               union select confrelid from pg_constraint where contype = 'f' and conrelid = $1
               union select conrelid from pg_constraint where contype = 'f' and confrelid = $1)
     select a.pid, a.xact_start::text as since, coalesce(a.usename::text, '') as who, coalesce(a.state, '') as state,
            coalesce(extract(epoch from clock_timestamp() - a.xact_start), 0)::float8 as age_s, coalesce(a.query, '') as query
       from pg_stat_activity a
      where a.datname = current_database() and a.pid <> pg_backend_pid()
        and coalesce(a.backend_type, 'client backend') = 'client backend' and ${notOursSql('a')}
        and a.wait_event is distinct from 'SyncRep'
        and case when $3::int[] is not null then a.pid = any ($3)
                 else exists (select from pg_locks l where l.pid = a.pid and l.granted and l.locktype = 'relation'
                                and l.database = (select oid from pg_database where datname = current_database())
                                and l.relation in (select oid from held)) end`,
    [plan.sourceOid, plan.targetOid, named],
  );
  return rows;
}

/**
 * Ends a session, if it still is in that transaction, and writes the event in the same statement.
 * @returns whether it was. @throws with SQLSTATE 42501 when this role may not
 */
export async function endSession(
  pool: Pool,
  migrationId: number,
  { pid, since }: Standing,
  detail: Readonly<Record<string, unknown>>,
): Promise<boolean> {
  const { rowCount } = await pool.query(
    `with found as materialized (
       select pid from pg_stat_activity a
        where pid = $1 and xact_start = $2::timestamptz and backend_type = 'client backend' and ${notOursSql('a')}
          and wait_event is distinct from 'SyncRep'),
     ended as materialized (select pg_terminate_backend(pid) as done from found)
     insert into foreshadow.migration_event (migration_id, kind, detail) select $3, 'terminated', $4 from ended where done`,
    [pid, since, migrationId, JSON.stringify(detail)],
  );
  return rowCount === 1;
}

/** Whether this role may end other roles' sessions, except a superuser's; and its name, quoted. */
export async function signalRight(pool: Pool): Promise<{ may: boolean; role: string }> {
  const { rows } = await pool.query<{ may: boolean; role: string }>(
    `select pg_has_role(current_user, 'pg_signal_backend', 'USAGE') as may, quote_ident(current_user) as role`,
  );
  return rows[0] as { may: boolean; role: string };
}
