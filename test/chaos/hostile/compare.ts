import type { Client } from 'pg';
import { backSql, expectedSql, heldSql, type Shape } from './shapes.ts';

export interface Differences {
  lost: string[];
  extra: string[];
  different: string[];
}

/** `held` against `expected`, both ways, each row by its image as text. One snapshot. At most ten keys of each kind. */
export async function differences(client: Client, held: string, expected: string): Promise<Differences> {
  const { rows } = await client.query<{ kind: keyof Differences; key: string }>(
    `with h as (${held}), e as (${expected}),
     pair as (select coalesce(h.key, e.key) as key,
                     case when h.key is null then 'lost' when e.key is null then 'extra' else 'different' end as kind
                from h full join e on h.key = e.key where h.row is distinct from e.row)
     select kind, key from (select *, row_number() over (partition by kind order by key) as i from pair) p where i <= 10`,
  );
  const found: Differences = { lost: [], extra: [], different: [] };
  for (const { kind, key } of rows) found[kind].push(key);
  return found;
}

export const count = (found: Differences) => found.lost.length + found.extra.length + found.different.length;

/** The last entry of each key in the application's own books. */
const keptSql = `with last as (select distinct on (kt) * from ledger order by kt, n desc),
     kept as (
       select i.kt, i.row, b.source as t from initial i, books b where not exists (select 1 from last l where l.kt = i.kt)
       union all select kt, row, t from last where not gone)`;

/** What T must hold, from the books alone: mapped by hand what was written to S. */
const booksSql = (shape: Shape) =>
  `${keptSql} ${expectedSql(shape, '(select (k.row::s_shape).* from kept k, books b where k.t = b.source) s')}
     union all select k.kt, k.row from kept k, books b where k.t <> b.source`;

/** What S must hold, from the books alone: mapped back by hand what was written to T. */
const booksBackSql = (shape: Shape) =>
  `${keptSql} ${backSql(shape, '(select (k.row::t_shape).* from kept k, books b where k.t <> b.source) t', 'text')}
     union all select k.kt, k.row from kept k, books b where k.t = b.source`;

/** After the swap: the new table, under the old name, against the books. */
export const compareMoved = (client: Client, shape: Shape) =>
  differences(client, heldSql(shape, 's'), booksSql(shape));

/** After a rollback: the old table, under its name again, against the books. */
export const compareRolledBack = (client: Client, shape: Shape) =>
  differences(client, heldSql(shape, 's'), booksBackSql(shape));

/** After an abort: S is what the application wrote, and T is empty. */
export async function compareAborted(client: Client, shape: Shape): Promise<Differences> {
  const found = await differences(client, expectedSql(shape, 's'), booksSql(shape));
  const { rows } = await client.query<{ key: string }>(`${heldSql(shape, 't s')} limit 10`);
  found.extra.push(...rows.map((row) => `${row.key} (in the target)`));
  return found;
}
