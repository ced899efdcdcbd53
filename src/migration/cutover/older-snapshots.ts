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
  /** which of its transactions, together with `pid` */
  readonly since: string | null;
  /** false: younger, but its snapshot reaches back as far as an older one may */
  readonly older: boolean;
  readonly queued: boolean;
  /** queued, and will be answered by the guard: not waited for */
  readonly answered: boolean;
}

/**
 * Sessions of this database that may still read by a snapshot from before an instant. Such a reader would reach the new
 * table by name and find rows missing, without an error.
 *
 * A session is older if its transaction began before the instant, or if its snapshot reaches back to before the horizon:
 * a young transaction may have imported the snapshot of an older one, and clocks may be set back. Where another
 * transaction was running then, imported snapshots and new ones may look alike; so who was there together with an older
 * one, and could have imported, is waited for like that one. Hence several looks belong together, and nobody is left only
 * when a look says so.
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
  /** who was there when an older one may have been there; null before the first look without one */
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

  /** @returns who is still to be waited for */
  async look(client: ClientBase): Promise<(Blocker & { readonly queued: boolean })[]> {
    const holders = await this.#holders(client);
    const waiting = holders.filter(({ answered }) => !answered);
    const old = waiting.filter(({ older }) => older);
    if (old.length) {
      this.#importers = null;
      return old;
    }
    // an older one may have gone just before this look
    const left = this.#importers ? waiting.filter((one) => this.#importers?.has(nameOf(one))) : waiting;
    if (left.length) this.#importers = new Set(holders.map(nameOf));
    return left;
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
            select count(*) > 0 as queued, coalesce(bool_or($3 or l.mode <> 'RowShareLock'), false) as answered
              from pg_locks l where l.pid = a.pid and l.relation = any ($1::oid[]) and not l.granted) q
          where a.datname = current_database() and a.pid <> pg_backend_pid()
            and coalesce(a.backend_type, '') not in ('autovacuum worker', 'walsender')
            and a.backend_xmin is not null
            and (s.older or $5 and age(a.backend_xmin) >= age($4::text::xid))`,
        [this.#relations, at, this.#isolation === 'read-committed', horizon, busy],
      ),
    );
  }
}

const nameOf = ({ pid, since }: Holder) => `${pid} ${since}`;
