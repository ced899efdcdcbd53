import type { ClientBase } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import { attempt } from './attempt.ts';
import { quantileBins, sizeOf } from './bins.ts';
import type { BinCount } from './count-by-bin.ts';
import { type BinnedFacet, chooseFacets, type Facet, facetsOf } from './facets.ts';
import type { ComparableField } from './fields.ts';
import type { FieldKind } from './report.ts';
import {
  type Edges,
  type Sample,
  type SourceSize,
  sourceCounts,
  sourceEdges,
  sourceSize,
} from './source.queries.ts';

/**
 * What one look at the source showed; the caller keeps it between evaluations. Plain JSON. It holds values of rows
 * (edges and labels of bins), so it belongs into our schema and nowhere else.
 */
export interface SourceStatistics {
  /** seconds since the epoch, the database's clock */
  readonly takenAt: number;
  /** keys logged from here on count as changed since */
  readonly changesSince: number;
  readonly rows: number;
  readonly rowsError: number;
  /** every row, or all rows of randomly chosen blocks */
  readonly method: 'scan' | 'blocks';
  readonly sampledRows: number;
  readonly fields: readonly SourceField[];
  readonly unmeasured: readonly { readonly name: string; readonly why: string }[];
}

export interface SourceField {
  readonly name: string;
  readonly kind: FieldKind;
  readonly facets: readonly {
    readonly facet: BinnedFacet;
    readonly groups: readonly (readonly number[])[];
  }[];
}

export interface SourceOptions {
  /** tables above this many rows are sampled (1,000,000); fewer where that many take too long */
  readonly scanRows?: number;
  /** rows that decide where the bins lie (20,000): they need not be exact, the same bins count both sides */
  readonly edgeRows?: number;
}

/** Enough groups for a variance, few enough to carry around. */
const blockGroups = 32;
/** When a table was never analysed. Too many is safe: a sample instead of a long scan. */
const rowsPerBlock = 100;

/** A statement of ours that takes longer than this, in ms, makes its snapshot old. */
const longestLook = 2000;
/** Fewer rows than this say too little, however long they take. */
const fewestRows = 2000;

/**
 * Measures the source, in transactions of its own. A field whose expression fails is left out, by name; a sample that
 * takes too long is made smaller, and its error larger.
 */
export async function collectSourceStatistics(
  client: ClientBase,
  plan: TablePlan,
  fields: readonly ComparableField[],
  { scanRows = 1_000_000, edgeRows = 20_000 }: SourceOptions = {},
): Promise<SourceStatistics> {
  for (let most = scanRows; ; most = Math.floor(most / 4)) {
    const last = most / 4 < fewestRows;
    await client.query('begin isolation level repeatable read read only');
    try {
      // the caller's own limit, where it is shorter, comes back with the end of the transaction
      if (!last) await client.query(`set local statement_timeout = ${longestLook}`);
      const limits = { scanRows: most, edgeRows: Math.min(edgeRows, most) };
      const found = await measureSource(client, plan, fields, limits);
      await client.query('commit');
      return found;
    } catch (error) {
      await client.query('rollback').catch(() => {}); // the connection may be gone: the first error says more
      if (last || codeOf(error) !== sqlstate.queryCanceled) throw error;
    }
  }
}

async function measureSource(
  client: ClientBase,
  plan: TablePlan,
  fields: readonly ComparableField[],
  { scanRows, edgeRows }: Required<SourceOptions>,
): Promise<SourceStatistics> {
  const size = await sourceSize(client, plan.sourceOid);
  const rows = size.rows >= 0 ? size.rows : size.blocks * rowsPerBlock;
  const sample = sampleOf(rows, scanRows, 'system', plan.seed);
  // an even draw of rows where the table is scanned anyway; blocks where that would be the long way
  const edgeSample = sampleOf(rows, edgeRows, sample.method === 'scan' ? 'bernoulli' : 'system', plan.seed);
  const measure = (some: readonly ComparableField[]) => measureFields(client, plan, some, sample, edgeSample);

  const all = await attempt(client, () => measure(fields));
  if (all.sqlstate === undefined) return statistics(size, sample, all.value, []);
  const unmeasured: { name: string; why: string }[] = [];
  const sound: ComparableField[] = [];
  for (const field of fields) {
    const one = await attempt(client, () => measure([field]));
    if (one.sqlstate === undefined) sound.push(field);
    else unmeasured.push({ name: field.name, why: `its expression raised SQLSTATE ${one.sqlstate}` });
  }
  return statistics(size, sample, await measure(sound), unmeasured);
}

function sampleOf(rows: number, limit: number, method: 'system' | 'bernoulli', seed: number): Sample {
  return rows <= limit ? { method: 'scan' } : { method, percent: Math.min(100, (100 * limit) / rows), seed };
}

interface Measured {
  readonly fields: readonly SourceField[];
  /** rows counted, by group of blocks */
  readonly groupRows: readonly number[];
}

async function measureFields(
  client: ClientBase,
  plan: TablePlan,
  fields: readonly ComparableField[],
  sample: Sample,
  edgeSample: Sample,
): Promise<Measured> {
  const facets = fields.map(facetsOf);
  const flat = facets.flat();
  const edges = flat.length > 0 ? await sourceEdges(client, plan.names.source, flat, edgeSample) : [];
  const byFacet = new Map(edges.map((row) => [flat[row.facet]!, row]));
  const chosen = fields.map((field, i) => {
    const binned = facets[i]!.map((facet) => withBins(facet, byFacet.get(facet)!));
    const value = facets[i]!.find(({ name }) => name === 'value');
    const { kind, facets: kept } = chooseFacets(field, binned, (value && byFacet.get(value)?.cover) ?? 0);
    return { name: field.name, kind, facets: kept };
  });

  const counted = chosen.flatMap((field) => field.facets);
  const groups = sample.method === 'scan' ? 1 : blockGroups;
  const counts = await sourceCounts(client, plan.names.source, counted, sample, groups);
  const table = tabulate(counted, counts, groups);
  return {
    groupRows: table.totals,
    fields: chosen.map((field) => ({
      ...field,
      facets: field.facets.map((facet) => ({ facet, groups: table.of.get(facet)! })),
    })),
  };
}

function withBins(facet: Facet, edges: Edges): BinnedFacet {
  const bins =
    facet.type === 'quantile'
      ? quantileBins(edges.percentiles ?? [])
      : ({ type: 'frequent', labels: edges.labels ?? [] } as const);
  return { ...facet, bins };
}

/** Rows of (facet, bin, part, n) → for each facet and part the counts of all its bins. */
export function tabulate(
  facets: readonly BinnedFacet[],
  counts: readonly BinCount[],
  parts: number,
): { of: ReadonlyMap<BinnedFacet, number[][]>; totals: number[] } {
  const of = new Map(
    facets.map((facet) => [
      facet,
      Array.from({ length: parts }, () => new Array<number>(sizeOf(facet.bins)).fill(0)),
    ]),
  );
  const totals = new Array<number>(parts).fill(0);
  for (const { facet, bin, part, n } of counts) {
    if (facet < 0) totals[part] = n;
    else of.get(facets[facet]!)![part]![bin] = n;
  }
  return { of, totals };
}

function statistics(
  size: SourceSize,
  sample: Sample,
  { fields, groupRows }: Measured,
  unmeasured: SourceStatistics['unmeasured'],
): SourceStatistics {
  const sampledRows = groupRows.reduce((a, b) => a + b, 0);
  const share = sample.method === 'scan' ? 1 : sample.percent / 100;
  const mean = sampledRows / groupRows.length;
  const spread = groupRows.reduce((sum, rows) => sum + (rows - mean) ** 2, 0);
  const G = groupRows.length;
  return {
    takenAt: size.now,
    changesSince: size.changesSince,
    rows: sampledRows / share,
    rowsError: share < 1 ? Math.sqrt(((1 - share) * spread * G) / (G - 1)) / share : 0,
    method: sample.method === 'scan' ? 'scan' : 'blocks',
    sampledRows,
    fields,
    unmeasured,
  };
}
