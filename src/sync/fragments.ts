import type { MappedKeyColumn, TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';

/** Pieces of SQL that every statement of the protocol is made of. Aliases: s source row, t target row. */

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
const list = (parts: readonly string[]) => parts.join(', ');

/** `l.k1, l.k2` */
export function sourceKeyOf(plan: TablePlan, alias: string): string {
  return list(range(plan.sourceKey.length).map((i) => `${alias}.k${i}`));
}

/** `l.m1, l.m2` */
export function mappedKeyOf(plan: TablePlan, alias: string): string {
  return list(range(plan.targetKey.length).map((i) => `${alias}.m${i}`));
}

/** `array[l.k1::text, l.k2::text]` */
export function sourceKeyTexts(plan: TablePlan, alias: string): string {
  return `array[${list(range(plan.sourceKey.length).map((i) => `${alias}.k${i}::text`))}]`;
}

/** two of our rows have the same mapped key */
export function sameMappedKey(plan: TablePlan, a: string, b: string): string {
  return range(plan.targetKey.length)
    .map((i) => `${a}.m${i} = ${b}.m${i}`)
    .join(' and ');
}

/** `m1, m2` */
export function mappedKeyColumns(plan: TablePlan): string {
  return list(range(plan.targetKey.length).map((i) => `m${i}`));
}

/** `k1, k2, m1, m2` */
export function ourKeyColumns(plan: TablePlan): string {
  return list([
    ...range(plan.sourceKey.length).map((i) => `k${i}`),
    ...range(plan.targetKey.length).map((i) => `m${i}`),
  ]);
}

/** `s."id", s."region"` */
export function sourceKey(plan: TablePlan, alias = 's'): string {
  return list(plan.sourceKey.map((column) => `${alias}.${ident(column.name)}`));
}

/** the mapped key as values over alias s */
export function mappedKeyValues(plan: TablePlan): string {
  return list(plan.targetKey.map((column) => column.value));
}

/** `"id", "region"` of the target, for ON CONFLICT */
export function targetKey(plan: TablePlan): string {
  return list(plan.targetKey.map((column) => ident(column.name)));
}

/** a mapped key column of target row t */
function ofTarget(column: MappedKeyColumn, t = 't'): string {
  return column.ofTarget ?? `${t}.${ident(column.name)}`;
}

/** target row t and one of our rows have the same mapped key */
export function targetMatches(plan: TablePlan, alias: string, t = 't'): string {
  return plan.targetKey.map((column, i) => `${ofTarget(column, t)} = ${alias}.m${i + 1}`).join(' and ');
}

/** source row s maps to the mapped key of one of our rows */
export function mappedMatches(plan: TablePlan, alias: string): string {
  return plan.targetKey.map((column, i) => `${column.value} = ${alias}.m${i + 1}`).join(' and ');
}

/** source row s maps to the key of target row t */
export function rowsMatch(plan: TablePlan): string {
  return plan.targetKey.map((column) => `${column.value} = ${ofTarget(column)}`).join(' and ');
}

/**
 * Source row s is the row that one of our rows speaks of: by mapped key, never by raw key. Equal keys need not have the
 * same image (1.0 and 1.00) and so not the same mapped key; and one mapped key may have had several raw keys in turn
 * ('A', then 'a' under lower()), so the raw key of a log row may be gone while the row it once named is not.
 */
export function sourceMatches(plan: TablePlan, alias: string): string {
  return mappedMatches(plan, alias);
}

/** the target's columns that are written */
export function targetColumns(plan: TablePlan): string {
  return list(plan.columns.map((column) => ident(column.name)));
}

/** f(s) for INSERT: the column casts by assignment, which refuses what an explicit cast would cut off */
export function rowMap(plan: TablePlan): string {
  return list(plan.columns.map((column) => column.expression));
}

/** f(s) as a row of the target: exact types, collations and names */
export function rowMapAsRow(plan: TablePlan): string {
  return list(plan.columns.map((column) => `${column.value} as ${ident(column.name)}`));
}

/** INSERT INTO T (…), with what identity columns need */
export function insertIntoTarget(plan: TablePlan): string {
  const overriding = plan.columns.some((column) => column.overriding) ? ' overriding system value' : '';
  return `insert into ${plan.names.target} as t (${targetColumns(plan)})${overriding}`;
}

/** t holds another value than f(s) in a column that no UPDATE can set: GENERATED ALWAYS AS IDENTITY, beside the key. */
export function fixedDiffers(plan: TablePlan): string | null {
  const columns = plan.columns.filter(
    (column) => column.overriding && !plan.targetKey.some((key) => key.name === column.name),
  );
  return columns.map((column) => `t.${ident(column.name)} <> ${column.value}`).join(' or ') || null;
}

/** ON CONFLICT on the key: every column anew, the key's image too; GENERATED ALWAYS columns cannot be updated */
export function upsert(plan: TablePlan): string {
  const set = plan.columns
    .filter((column) => !column.overriding)
    .map((column) => `${ident(column.name)} = excluded.${ident(column.name)}`);
  return `on conflict (${targetKey(plan)}) do ${set.length ? `update set ${list(set)}` : 'nothing'}`;
}

/** The permanent random number of a key in [0, 1), 53 bits of a hash of the source key columns. */
export function permanentRandom(plan: TablePlan, keyColumns: string): string {
  return `(((hash_record_extended(row(${keyColumns}), ${plan.seed}) >> 11) & 9007199254740991)::float8 / 9007199254740992.0)`;
}

/** Bounds of a run of keys, as texts in key order; null is an open end. Low is exclusive, high inclusive. */
export interface KeyBounds {
  readonly low: readonly string[] | null;
  readonly high: readonly string[] | null;
}

/** The keys `columns` lie within bounds, whose texts are bound from parameter `first` on. */
export function withinBounds(
  plan: TablePlan,
  columns: string,
  bounds: KeyBounds,
  first: number,
): { sql: string; values: string[] } {
  const values: string[] = [];
  const side = (texts: readonly string[], operator: string) => {
    const cast = texts.map((text, i) => {
      values.push(text);
      return `$${first + values.length - 1}::${plan.sourceKey[i]?.type}`;
    });
    return `(${columns}) ${operator} (${list(cast)})`;
  };
  const parts: string[] = [];
  if (bounds.low) parts.push(side(bounds.low, '>'));
  if (bounds.high) parts.push(side(bounds.high, '<='));
  return { sql: parts.join(' and ') || 'true', values };
}
