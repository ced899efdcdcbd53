import type { ClientBase } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { sourceKey } from '../sync/fragments.ts';

/** Rows of a range: small enough that heat orders the copy finely, large enough that bookkeeping is nothing. */
const rowsPerRange = 5_000;
const maxRanges = 512;
/** Up to this many rows the bounds come from all keys, above it from a block sample. */
const scannedRows = 200_000;

/**
 * Cuts the key space into ranges of about equal size, both ends open, in S's own order, and deals neighbouring ranges
 * to lanes so that each lane answers for one run of keys.
 */
export async function createRanges(
  client: ClientBase,
  plan: TablePlan,
  lanes: number,
  rows: number,
): Promise<number> {
  const perLane = Math.max(
    1,
    Math.min(Math.floor(maxRanges / lanes), Math.ceil(rows / rowsPerRange / lanes)),
  );
  const wanted = perLane * lanes;
  const percent = Math.max(0.01, (100 * 200_000) / Math.max(1, rows));
  const sample = rows > scannedRows ? `tablesample system (${percent.toFixed(4)})` : '';
  const keys = sourceKey(plan).split(', ');
  const k = keys.map((_, i) => `k${i + 1}`);
  // Keys travel as texts, which are exact for every type; never as JavaScript numbers.
  const cuts = await client.query<Record<string, string>>(
    `with keys as (select ${keys.map((key, i) => `${key} as k${i + 1}`).join(', ')} from ${plan.names.source} s ${sample}),
     placed as (select ${k.join(', ')}, row_number() over (order by ${k.join(', ')}) as place, count(*) over () as n from keys),
     cut as (select *, floor((place - 1) * $1::float8 / n) as cut from placed)
     select ${k.map((name) => `${name}::text`).join(', ')} from (select distinct on (cut) * from cut order by cut, place) c
      where cut > 0 order by cut`,
    [wanted],
  );
  const count = cuts.rows.length + 1;
  const side = (offset: number) =>
    k.map((name) => Array.from({ length: count }, (_, i) => cuts.rows[i + offset]?.[name] ?? null));
  const arrays = [...side(-1), ...side(0)];
  const types = [...plan.sourceKey, ...plan.sourceKey].map((column) => column.type);
  await client.query(
    `insert into ${plan.names.range} (range_id, lane, size, ${['lo', 'hi'].flatMap((end) => k.map((name) => `${end}_${name}`)).join(', ')})
     select r.i - 1, floor((r.i - 1) * $2::float8 / $1::float8)::int, $3::bigint, ${types.map((type, i) => `r.b${i + 1}::${type}`).join(', ')}
       from unnest(${arrays.map((_, i) => `$${i + 4}::text[]`).join(', ')}) with ordinality as r(${arrays.map((_, i) => `b${i + 1}`).join(', ')}, i)`,
    [count, Math.min(lanes, count), Math.ceil(rows / count), ...arrays],
  );
  return count;
}
