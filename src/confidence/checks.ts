import type { ClientBase } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { attempt } from './attempt.ts';
import {
  type CheckedPart,
  type CheckSample,
  checkMembers,
  columnsWithoutEquality,
  type RowCheck,
  rowChecks,
} from './check.queries.ts';
import type { DefectCounts } from './defects.ts';
import type { CheckResult } from './measurement.ts';

export interface CheckedMembers {
  readonly sync: DefectCounts & { readonly examples: readonly (readonly string[])[] };
  readonly map: DefectCounts;
  readonly results: readonly CheckResult[];
  readonly sampled: boolean;
  readonly unmeasured: readonly { readonly name: string; readonly why: string }[];
}

/** Compares members with f(S) and runs back maps and invariants; an expression that raises is named, not fatal. */
export async function checkedMembers(
  client: ClientBase,
  plan: TablePlan,
  sample: CheckSample,
): Promise<CheckedMembers> {
  const without = await columnsWithoutEquality(client, plan);
  const checks = rowChecks(plan, without);
  const run = (some: readonly RowCheck[]) =>
    attempt(client, () => checkMembers(client, plan, some, without, sample));

  const all = await run(checks);
  if (all.sqlstate === undefined) return collate(all.value, checks, [], sample, []);

  const sound: RowCheck[] = [];
  const failed: CheckResult[] = [];
  const bare = await run([]);
  if (bare.sqlstate !== undefined) {
    const why = `comparing members with f(source) raised SQLSTATE ${bare.sqlstate}`;
    return collate([], [], [], sample, [{ name: 'accuracy', why }]);
  }
  for (const check of checks) {
    const one = await run([check]);
    if (one.sqlstate === undefined) sound.push(check);
    else failed.push({ ...check, found: 0, nulls: 0, examples: [], error: one.sqlstate });
  }
  const rest = await run(sound);
  return collate(rest.sqlstate === undefined ? rest.value : bare.value, sound, failed, sample, []);
}

function collate(
  parts: readonly CheckedPart[],
  checks: readonly RowCheck[],
  failed: readonly CheckResult[],
  { rate }: CheckSample,
  unmeasured: CheckedMembers['unmeasured'],
): CheckedMembers {
  const part = (certain: boolean) => parts.find((row) => row.certain === certain);
  const counts = (checked: 'checked' | 'mapChecked', found: 'syncFound' | 'mapFound'): DefectCounts => ({
    a: { checked: part(true)?.[checked] ?? 0, found: part(true)?.[found] ?? 0 },
    b: { checked: part(false)?.[checked] ?? 0, found: part(false)?.[found] ?? 0 },
  });
  const none = { checked: 0, found: 0 };
  return {
    sync: {
      ...counts('checked', 'syncFound'),
      examples: parts.flatMap((row) => row.syncExamples ?? []).slice(0, 3),
    },
    // without a single check nothing is known of the map
    map: checks.length > 0 ? counts('mapChecked', 'mapFound') : { a: none, b: none },
    results: [
      ...checks.map(({ kind, name }, i) => ({
        kind,
        name,
        found: parts.reduce((sum, row) => sum + row.results[i]!.found, 0),
        nulls: parts.reduce((sum, row) => sum + row.results[i]!.nulls, 0),
        examples: parts.flatMap((row) => row.results[i]!.examples ?? []).slice(0, 3),
      })),
      ...failed,
    ],
    sampled: rate < 1,
    unmeasured,
  };
}
