/** What a plan of EXPLAIN (FORMAT JSON) says about how much a statement reads. Costs are PostgreSQL's own units. */
export interface PlanSummary {
  readonly cost: number;
  /** tables that are read from one end to the other */
  readonly scanned: readonly string[];
  /** more than a handful of rows */
  readonly sorts: boolean;
  /** indexes that are used, in the order of the plan */
  readonly indexes: readonly string[];
}

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Total Cost': number;
  readonly 'Plan Rows': number;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly Plans?: readonly PlanNode[];
}

const manyRows = 1000;

/** @param document the one value that EXPLAIN (FORMAT JSON) returns */
export function summarise(document: unknown): PlanSummary {
  const root = (document as { Plan: PlanNode }[])[0]?.Plan as PlanNode;
  const scanned = new Set<string>();
  const indexes = new Set<string>();
  let sorts = false;
  const visit = (node: PlanNode): void => {
    if (node['Node Type'] === 'Seq Scan' && node['Relation Name']) scanned.add(node['Relation Name']);
    if (node['Index Name']) indexes.add(node['Index Name']);
    sorts ||= node['Node Type'].endsWith('Sort') && node['Plan Rows'] >= manyRows;
    for (const child of node.Plans ?? []) visit(child);
  };
  visit(root);
  return { cost: root['Total Cost'], scanned: [...scanned], sorts, indexes: [...indexes] };
}

/** Below this ratio of costs a statement is not called slow. */
const slowRatio = 3;
/** Cheaper than this is quick whatever the ratio: some ten lookups by an index, or a table of a few pages. */
const quickCost = 100;
/** Without a scan or a sort that was not there before, it takes this much to be slow: lists of keys cost some hundreds. */
const dearCost = 1000;

/** Why a statement would be slow with `now`, where it was not with `before`; null when it would not. */
export function whySlow(before: PlanSummary, now: PlanSummary, of: (table: string) => string): string | null {
  const ratio = now.cost / Math.max(0.01, before.cost);
  if (now.cost < quickCost || ratio < slowRatio) return null;
  const scans = before.scanned.some((table) => of(table) !== '')
    ? []
    : [...new Set(now.scanned.map(of))].filter((name) => name !== '');
  const sorts = now.sorts && !before.sorts;
  if (!scans.length && !sorts && now.cost < dearCost) return null;
  const reasons = [
    ...(scans.length ? [`reads all of ${scans.join(' and ')}`] : []),
    ...(sorts ? ['sorts what an index gives in order now'] : []),
  ];
  return `${reasons.join(', ') || 'reads more'}: costs ${factor(ratio)} as much`;
}

const factor = (ratio: number) => `${ratio < 10 ? ratio.toFixed(1) : Math.round(ratio)} times`;
