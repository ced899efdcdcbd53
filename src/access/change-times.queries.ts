import type { Pool } from 'pg';
import type { Access } from '../core/access.ts';
import { keyId } from '../core/key.ts';
import type { TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';

/** Seconds since the epoch. */
export interface Window {
  /** not itself included, so that a window may begin where the last one has ended */
  readonly after: number;
  readonly until: number;
}

const keyOf = (plan: TablePlan) => plan.sourceKey.map((column) => `s.${ident(column.name)}::text`).join(', ');

/**
 * Change evidence that the table itself carries: a W for each row whose column lies in the window, in time order. A row
 * shows its last change only.
 * @param from which end of the window to begin at, where it holds more than `limit`
 */
export async function changeTimes(
  pool: Pool,
  plan: TablePlan,
  name: string,
  { after, until }: Window,
  limit: number,
  from: 'latest' | 'earliest',
): Promise<Access[]> {
  const column = `s.${ident(name)}`;
  const { rows } = await pool.query<{ key: string[]; at: number }>(
    `select array[${keyOf(plan)}] as key, extract(epoch from ${column})::float8 as at from ${plan.names.source} s
      where ${column} > to_timestamp($1) and ${column} < to_timestamp($2)
      order by ${column} ${from === 'latest' ? 'desc' : 'asc'} limit $3`,
    [after, until, limit],
  );
  return rows.map(({ key, at }): Access => ({ key: keyId(key), op: 'W', at })).sort((a, b) => a.at - b.at);
}

/**
 * The same by the time at which each row's last transaction was committed, for the rows in some pages of the table. Rows
 * frozen since, and those of before track_commit_timestamp was on, have none.
 */
export async function commitTimes(
  pool: Pool,
  plan: TablePlan,
  pages: { readonly first: number; readonly end: number },
  { after, until }: Window,
): Promise<Access[]> {
  const { rows } = await pool.query<{ key: string[]; at: number }>(
    `select key, at from (
       select array[${keyOf(plan)}] as key, extract(epoch from pg_xact_commit_timestamp(s.xmin))::float8 as at
         from ${plan.names.source} s where s.ctid >= $1::tid and s.ctid < $2::tid) changed
      where at > $3 and at < $4`,
    [`(${pages.first},0)`, `(${pages.end},0)`, after, until],
  );
  return rows.map(({ key, at }): Access => ({ key: keyId(key), op: 'W', at }));
}

export interface ChangeColumns {
  /** columns that a whole, valid btree index begins with */
  readonly indexed: ReadonlySet<string>;
  readonly pages: number;
  readonly commitTimestamps: boolean;
}

/** How change times of a table can be had. @param oid of the table */
export async function changeColumns(pool: Pool, oid: number): Promise<ChangeColumns> {
  const { rows } = await pool.query<{ indexed: string[]; pages: number; on: boolean }>(
    `select array(select a.attname::text
                    from pg_index x
                    join pg_class i on i.oid = x.indexrelid
                    join pg_am m on m.oid = i.relam and m.amname = 'btree'
                    join pg_attribute a on a.attrelid = x.indrelid and a.attnum = x.indkey[0]
                   where x.indrelid = c.oid and x.indisvalid and x.indpred is null) as indexed,
            (pg_relation_size(c.oid) / current_setting('block_size')::int)::float8 as pages,
            current_setting('track_commit_timestamp') = 'on' as on
       from pg_class c where c.oid = $1`,
    [oid],
  );
  const { indexed = [], pages = 0, on = false } = rows[0] ?? {};
  return { indexed: new Set(indexed), pages, commitTimestamps: on };
}

/**
 * Up to here every transaction is over, so that no row with an earlier `now()` of its own can still appear: the start of
 * the oldest running one, seconds since the epoch.
 */
export async function settledUntil(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ at: number }>(
    `select extract(epoch from least(
              clock_timestamp(),
              (select min(xact_start) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()),
              (select min(prepared) from pg_prepared_xacts where database = current_database())))::float8 as at`,
  );
  return rows[0]?.at ?? 0;
}
