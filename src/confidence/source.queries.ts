import type { ClientBase } from 'pg';
import { type Bind, binder } from './bind.ts';
import { askedPercentiles, finestBins } from './bins.ts';
import { type BinCount, countByBin } from './count-by-bin.ts';
import { type BinnedFacet, binSql, type Facet } from './facets.ts';

export interface SourceSize {
  readonly blocks: number;
  /** the planner's estimate; −1 when a part of the table was never analysed */
  readonly rows: number;
  /** start of this transaction, seconds since the epoch */
  readonly now: number;
  /** changes logged from here on may be missing from this snapshot, seconds since the epoch */
  readonly changesSince: number;
}

/** Size of a table with its partitions. */
export async function sourceSize(client: ClientBase, oid: number): Promise<SourceSize> {
  const { rows } = await client.query<SourceSize>(
    `select coalesce(sum(leaf.blocks), 0)::float8 as blocks,
            case when bool_or(c.reltuples < 0 or (c.relpages = 0 and leaf.blocks > 0)) then -1
                 else coalesce(sum(c.reltuples * leaf.blocks / nullif(c.relpages, 0)), 0) end::float8 as rows,
            extract(epoch from now())::float8 as now,
            -- a transaction that is open now may commit later what it logged before now
            extract(epoch from least(now(), (
              select min(a.xact_start) from pg_stat_activity a
               where a.datname = current_database() and a.backend_xid is not null)))::float8 as "changesSince"
       -- a table without partitions is no partition tree
       from (select $1::oid as relid union select p.relid from pg_partition_tree($1::oid::regclass) p) p
       join pg_class c on c.oid = p.relid and c.relkind <> 'p'
      cross join lateral (select (pg_relation_size(c.oid) / current_setting('block_size')::int)::float8) leaf(blocks)`,
    [oid],
  );
  return rows[0]!;
}

/** Which rows of the source to look at; the same ones for the same seed, as long as the table does not change. */
export type Sample =
  | { readonly method: 'scan' }
  | { readonly method: 'system' | 'bernoulli'; readonly percent: number; readonly seed: number };

function fromSource(source: string, sample: Sample, bind: Bind): string {
  if (sample.method === 'scan') return `${source} s`;
  const percent = `${bind(sample.percent)}::float4`;
  return `${source} s tablesample ${sample.method} (${percent}) repeatable (${bind(sample.seed)}::float8)`;
}

/** What decides a facet's bins. */
export interface Edges {
  /** index into the facets asked for */
  readonly facet: number;
  /** quantile facets: the values at askedPercentiles; null when every value is NULL */
  readonly percentiles: readonly string[] | null;
  /** frequent facets: the frequent values, by frequency, without very long ones */
  readonly labels: readonly string[] | null;
  /** share of the non-NULL values that the labels cover */
  readonly cover: number | null;
}

/** A value longer than this is nobody's category, and would make our own statements long. */
const longestLabel = 64;

/** Percentiles and frequent values of all facets, over one sample that is read once. */
export async function sourceEdges(
  client: ClientBase,
  source: string,
  facets: readonly Facet[],
  sample: Sample,
): Promise<Edges[]> {
  const { values, bind } = binder();
  const from = fromSource(source, sample, bind);
  const branches = facets.map((facet, i) => {
    if (facet.type === 'quantile') {
      return `select ${i} as facet, null::text[] as labels, null::float8 as cover,
                     (percentile_disc(${bind(askedPercentiles)}::float8[]) within group (order by c${i}))::text[]
                       as percentiles
                from picked`;
    }
    const kept = `place < ${bind(finestBins)}::int and octet_length(label) <= ${longestLabel}`;
    return `select ${i} as facet, array_agg(label order by n desc, label) filter (where ${kept}) as labels,
                   (sum(n) filter (where ${kept}) / sum(n))::float8 as cover, null::text[] as percentiles
              from (select label, count(*) as n, row_number() over (order by count(*) desc, label) as place
                      from (select c${i} collate "C" as label from picked where c${i} is not null) v
                     group by label) v`;
  });
  const columns = facets.map((facet, i) => `${facet.sourceSql} as c${i}`).join(',\n');
  const { rows } = await client.query<Edges>(
    `with picked as materialized (select ${columns} from ${from})\n${branches.join('\nunion all\n')}`,
    values,
  );
  return rows;
}

/** One pass over the source for all facets; `part` is the group that the row's block was dealt into. */
export async function sourceCounts(
  client: ClientBase,
  source: string,
  facets: readonly BinnedFacet[],
  sample: Sample,
  groups: number,
): Promise<BinCount[]> {
  const { values, bind } = binder();
  const bins = facets.map((facet) => binSql(facet, 'sourceSql', bind));
  const block = '(s.tableoid::bigint + (s.ctid::text::point)[0]::bigint)';
  const part = sample.method === 'scan' ? '0' : `${block} % ${bind(groups)}::bigint`;
  const sql = countByBin(bins, part, fromSource(source, sample, bind), 'true');
  return (await client.query<BinCount>(sql, values)).rows;
}
