import type { Client } from 'pg';
import { expectedSql, heldSql, type Shape } from './shapes.ts';

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

/**
 * What the table must hold, from the application's own books alone: the last entry of each key, mapped by hand if it was
 * written to S.
 * @param source where S is now
 */
function booksSql(shape: Shape, source: string): string {
  return `with last as (select distinct on (kt) * from ledger order by kt, n desc),
     kept as (
       select i.kt, i.row, b.source as t from initial i, books b where not exists (select 1 from last l where l.kt = i.kt)
       union all select kt, row, t from last where not gone)
     ${expectedSql(shape, `(select (k.row::${source}).* from kept k, books b where k.t = b.source) s`)}
     union all select k.kt, k.row from kept k, books b where k.t <> b.source`;
}

/** After the swap: the new table, under the old name, against the books. */
export const compareMoved = (client: Client, shape: Shape) =>
  differences(client, heldSql(shape, 's'), booksSql(shape, 'foreshadow.s_old'));

/** After an abort: S is what the application wrote, and T is empty. */
export async function compareAborted(client: Client, shape: Shape): Promise<Differences> {
  const found = await differences(client, expectedSql(shape, 's'), booksSql(shape, 'public.s'));
  const { rows } = await client.query<{ key: string }>(`${heldSql(shape, 't s')} limit 10`);
  found.extra.push(...rows.map((row) => `${row.key} (in the target)`));
  return found;
}
