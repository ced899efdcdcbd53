import type { ClientBase } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { attempt } from './attempt.ts';
import { binCount, coarsen, coarsening } from './bins.ts';
import type { ComparableField } from './fields.ts';
import type { FieldMeasurement } from './measurement.ts';
import { memberCounts } from './member.queries.ts';
import { type SourceField, type SourceStatistics, tabulate } from './source-statistics.ts';

export interface CountedMembers {
  readonly fields: readonly FieldMeasurement[];
  readonly unmeasured: readonly { readonly name: string; readonly why: string }[];
  /** rows of A that are in T */
  readonly certainMembers: number;
  /** random members that are in T with u below piEff */
  readonly randomMembers: number;
}

/** Counts the members in the source's bins, as coarse as the number of random members asks. */
export async function countMembers(
  client: ClientBase,
  plan: TablePlan,
  fields: readonly ComparableField[],
  source: SourceStatistics,
  piEff: number,
): Promise<CountedMembers> {
  const byName = new Map(source.fields.map((field) => [field.name, field]));
  const pairs = fields.flatMap((field) => {
    const measured = byName.get(field.name);
    return measured ? [{ field, measured }] : [];
  });
  const count = async (some: readonly { measured: SourceField }[]) => {
    const facets = some.flatMap(({ measured }) => measured.facets.map(({ facet }) => facet));
    return tabulate(facets, await memberCounts(client, plan, facets, piEff), 2);
  };

  const all = await attempt(client, () => count(pairs));
  const unmeasured: { name: string; why: string }[] = [];
  let sound = pairs;
  let table = all.sqlstate === undefined ? all.value : undefined;
  if (table === undefined) {
    sound = [];
    for (const pair of pairs) {
      const one = await attempt(client, () => count([pair]));
      if (one.sqlstate === undefined) sound.push(pair);
      else
        unmeasured.push({
          name: pair.field.name,
          why: `its value in the target raised SQLSTATE ${one.sqlstate}`,
        });
    }
    table = await count(sound);
  }

  const { of, totals } = table;
  const k = binCount(totals[1]!);
  const measurements = sound.map(({ field, measured }): FieldMeasurement => {
    const facets = measured.facets.map(({ facet, groups }) => {
      const plan = coarsening(facet.bins, k);
      const [a, b] = of.get(facet)!.map((counts) => coarsen(Float64Array.from(counts), plan));
      return { source: groups.map((counts) => coarsen(Float64Array.from(counts), plan)), a: a!, b: b! };
    });
    const { name, space, weight, checked } = field;
    return { name, kind: measured.kind, space, weight, checked, facets };
  });
  return { fields: measurements, unmeasured, certainMembers: totals[0]!, randomMembers: totals[1]! };
}
