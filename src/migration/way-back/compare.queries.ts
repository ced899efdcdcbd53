import type { ClientBase } from 'pg';
import type { TablePlan } from '../../core/plan.ts';
import { ident } from '../../db/ident.ts';
import { rowsMatch, sourceKey, targetMatches } from '../../sync/fragments.ts';

const named = 5;

/**
 * Two lists of values of the same types differ: as JSON has them, since every type has such a form, and 1.0 and 1.00 are one
 * number in it. Nearly all rows are alike byte by byte, which is quicker to see.
 */
const notRestored = (restored: string, original: string) =>
  `record_image_ne(row(${restored}), row(${original})) and to_jsonb(row(${restored})) is distinct from to_jsonb(row(${original}))`;

/**
 * A run of rows of T: whether the back map makes of each the row of S that it came from. Keys with changes that lanes
 * have yet to bring are left out. One statement, one snapshot.
 * @param after the last key of the run before, as texts; null begins at the first
 * @returns up to five keys that fail, and the last key of the run; null: that was the last run
 */
export async function compareBack(
  client: ClientBase,
  plan: TablePlan,
  wayBack: TablePlan,
  after: readonly string[] | null,
  limit: number,
): Promise<{ failing: string[]; next: string[] | null }> {
  const { source: now, target: old } = wayBack.names;
  const key = sourceKey(wayBack);
  const columns = key.split(', ');
  const past = after
    ? `(${key}) > (${wayBack.sourceKey.map((column, i) => `$${i + 2}::${column.type}`).join(', ')})`
    : 'true';
  const restored = wayBack.columns.map((column) => column.value).join(', ');
  const original = wayBack.columns.map((column) => `t.${ident(column.name)}`).join(', ');
  const dirty = `exists (select 1 from ${plan.names.keyLog} l where ${targetMatches(plan, 'l', 's')})`;
  const { rows } = await client.query<{ n: number; failing: string[]; last: string[] | null }>(
    `with s as materialized (select s.* from ${now} s where ${past} order by ${key} limit $1)
     select (select count(*) from s)::int as n,
            array(select ${columns.map((column) => `${column}::text`).join(` || ',' || `)}
                    from s join ${old} t on ${rowsMatch(wayBack)}
                   where not ${dirty}
                     and (${notRestored(restored, original)}
                          or (${wayBack.roundTrip}) is not true) limit ${named}) as failing,
            (select array[${columns.map((column) => `${column}::text`).join(', ')}] from s
              order by ${columns.map((column) => `${column} desc`).join(', ')} limit 1) as last`,
    [limit, ...(after ?? [])],
  );
  const { n, failing, last } = rows[0] as (typeof rows)[0];
  return { failing, next: n < limit ? null : last };
}
