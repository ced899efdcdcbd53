/** Rows of one facet (index into the facets asked for; −1: of all rows) by bin and part. */
export interface BinCount {
  readonly facet: number;
  readonly bin: number;
  readonly part: number;
  readonly n: number;
}

/**
 * Counts of every distribution in one pass: one grouping set a facet, so that each keeps its own small hash table. Of
 * the b columns exactly the grouped one is not null, since a bin never is.
 *
 * @param bins SQL for the bin number of each facet
 * @param part SQL for an int that splits the rows
 */
export function countByBin(bins: readonly string[], part: string, from: string, where: string): string {
  const names = bins.map((_, i) => `b${i}`);
  const columns = bins.map((sql, i) => `${sql} as b${i}`);
  const sets = ['(part)', ...names.map((name) => `(part, ${name})`)];
  const cases = names.map((name, i) => `when ${name} is not null then ${i}`).join(' ');
  return `
    select ${cases ? `case ${cases} else -1 end` : '-1'} as facet,
           coalesce(${[...names, '0'].join(', ')}) as bin, part, count(*)::float8 as n
      from (select ${[`(${part})::int as part`, ...columns].join(',\n                   ')}
              from ${from}
             where ${where}) x
     group by grouping sets (${sets.join(', ')})`;
}
