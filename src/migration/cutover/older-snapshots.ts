import type { ClientBase } from 'pg';
import { prepared } from '../../db/prepared.ts';
import { type Blocker, blockerColumns, lookAtSessions } from './blockers.queries.ts';

/** A moment that snapshots are compared with. */
export interface Instant {
  readonly at: Date | string;
  /** the oldest transaction that was still running then: no snapshot taken later reaches back beyond it; null: not known */
  readonly horizon: string | null;
  /** a transaction with an id was running then, so that a later snapshot may reach back as far as an older one */
  readonly busy: boolean;
}

/** Now, by the server's clock and by its transactions. */
export async function instantNow(client: ClientBase): Promise<Instant> {
  const { rows } = await client.query<Instant>(
    `select clock_timestamp()::text as at, pg_snapshot_xmin(s)::xid::text as horizon,
            pg_snapshot_xmin(s) < pg_snapshot_xmax(s) as busy
       from pg_current_snapshot() s`,
  );
  return rows[0] as Instant;
}

/** A session that has a snapshot. */
interface Holder extends Blocker {
  /** which of its transactions, together with `pid`; null: we may not see it */
  readonly since: string | null;
  /** false: younger, but its snapshot reaches back as far as an older one may */
  readonly older: boolean;
  readonly queued: boolean;
  /** queued to write, and will be answered by the guard: not waited for */
  readonly answered: boolean;
}

/** A transaction that waits for a lock, told from later ones of its session by its start. */
export type Queued = Pick<Holder, 'pid' | 'since'>;

/**
 * Sessions of this database that may still read by a snapshot from before an instant. Such a reader would reach the new
 * table by name and find rows missing, without an error.
 *
 * A session is older if its transaction began before the instant, or if its snapshot reaches back to before the horizon:
 * a young transaction may have imported the snapshot of an older one, and clocks may be set back. Where another
 * transaction was running then, imported snapshots and new ones may look alike; so who was there at the first look
 * without an older one, and could have imported, is waited for too. Hence several looks belong together.
 *
 * Writers queued for one of the tables that are held are left out (the guard trigger answers them); those that queue to
 * lock rows (SELECT … FOR UPDATE) only where the application is known to use READ COMMITTED, since no trigger fires for a
 * read and isolation cannot be seen from outside. A session whose start we may not see (another role's, without
 * pg_read_all_stats) counts as older.
 */
export class OlderSnapshots {
  readonly #relations: readonly number[];
  readonly #instant: Instant;
  readonly #isolation: 'any' | 'read-committed';
  /** who may have imported from one that has gone; null before the first look without an older one */
  #importers: ReadonlySet<string> | null = null;

  constructor(
    relations: readonly number[],
    instant: Instant,
    isolation: 'any' | 'read-committed' = 'read-committed',
  ) {
    this.#relations = relations;
    this.#instant = instant;
    this.#isolation = isolation;
  }

  /** Who is still to be waited for, and who is not, as the guard will answer him. */
  async look(client: ClientBase): Promise<{ readonly left: Holder[]; readonly answered: Holder[] }> {
    const holders = await this.#holders(client);
    const answered = holders.filter((one) => one.answered);
    const waiting = holders.filter((one) => !one.answered);
    const old = waiting.filter(({ older }) => older);
    this.#importers = old.length
      ? null
      : new Set(holders.map(nameOf).filter((name) => this.#importers?.has(name) ?? true));
    const left = old.length ? old : waiting.filter((one) => this.#importers?.has(nameOf(one)));
    return { left, answered };
  }

  #holders(client: ClientBase): Promise<Holder[]> {
    const { at, horizon, busy } = this.#instant;
    return lookAtSessions<Holder>(
      client,
      prepared(
        `select ${blockerColumns}, a.xact_start::text as since, s.older, q.queued, q.answered
           from pg_stat_activity a left join pg_prepared_xacts p on false
          cross join lateral (
            select coalesce(a.xact_start, '-infinity') < $2::timestamptz
                   or coalesce(age(a.backend_xmin) > age($4::text::xid), false) as older) s
          cross join lateral (
            select count(*) > 0 as queued,
                   coalesce(bool_or(l.mode = 'RowExclusiveLock' or $3 and l.mode = 'RowShareLock'), false) as answered
              from pg_locks l where l.pid = a.pid and l.relation = any ($1::oid[]) and not l.granted) q
          where a.datname = current_database() and a.pid <> pg_backend_pid()
            and coalesce(a.backend_type, '') <> 'autovacuum worker'
            and a.backend_xmin is not null
            and (s.older or $5 and age(a.backend_xmin) >= age($4::text::xid))`,
        [this.#relations, at, this.#isolation === 'read-committed', horizon, busy],
      ),
    );
  }
}

const nameOf = ({ pid, since }: Queued) => `${pid} ${since}`;

/** Those that wait no longer, but have given up (lock_timeout, a cancel) and live on with a snapshot. */
export async function gaveUpWaiting(
  client: ClientBase,
  relations: readonly number[],
  queued: readonly Queued[],
): Promise<number[]> {
  const rows = await lookAtSessions<{ pid: number }>(
    client,
    prepared(
      `select a.pid from pg_stat_activity a
         join unnest($2::int[], $3::timestamptz[]) as q (pid, since) on q.pid = a.pid and q.since is not distinct from a.xact_start
        where a.backend_xmin is not null
          and not exists (select 1 from pg_locks l where l.pid = a.pid and l.relation = any ($1::oid[]) and not l.granted)`,
      [relations, queued.map(({ pid }) => pid), queued.map(({ since }) => since)],
    ),
  );
  return rows.map(({ pid }) => pid);
}
