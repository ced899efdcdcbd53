import type { ClientBase, Pool } from 'pg';
import { planLabel, type TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import { insertIntoTarget, type KeyBounds, rowMap, rowsMatch, sourceKey, withinBounds } from './fragments.ts';

/** A run of keys that one lane copies, with its cursor. Texts of key columns; null is an open end or a fresh cursor. */
export interface KeyRange {
  readonly rangeId: number;
  readonly low: readonly string[] | null;
  readonly high: readonly string[] | null;
  readonly cursor: readonly string[] | null;
}

const texts = (plan: TablePlan, prefix: string, alias: string) =>
  `case when ${alias}.${prefix}_k1 is not null then array[${plan.sourceKey.map((_, i) => `${alias}.${prefix}_k${i + 1}::text`).join(', ')}] end`;

/** The hottest range of the lane that is not copied yet; no row when the lane is done. */
export function nextRangeSql(plan: TablePlan, lane: number): string {
  return `select r.range_id as "rangeId", ${texts(plan, 'lo', 'r')} as low, ${texts(plan, 'hi', 'r')} as high,
                 ${texts(plan, 'cur', 'r')} as cursor
            from ${plan.names.range} r where r.lane = ${lane} and not r.done order by r.heat desc, r.range_id limit 1`;
}

/** The keys that a lane answers for: from the low end of its first range to the high end of its last; null: none. */
export async function laneBounds(
  client: ClientBase,
  plan: TablePlan,
  lane: number,
): Promise<KeyBounds | null> {
  const { rows } = await client.query<{ ranges: number; low: string[] | null; high: string[] | null }>(
    `select (select count(*)::int from ${plan.names.range} r where r.lane = $1) as ranges,
            (select ${texts(plan, 'lo', 'r')} from ${plan.names.range} r where r.lane = $1 order by r.range_id limit 1) as low,
            (select ${texts(plan, 'hi', 'r')} from ${plan.names.range} r where r.lane = $1 order by r.range_id desc limit 1) as high`,
    [lane],
  );
  const { ranges, low, high } = rows[0] as (typeof rows)[0];
  return ranges ? { low, high } : null;
}

const wholeNumbers = ['smallint', 'integer', 'bigint'];

/**
 * Of the rows s of a chunk, those that T lacks. T is asked once for each; or once for all of them, where the key is a
 * whole number on both sides, so that what T may hold of them lies between the first and the last.
 * (`is not true`: a key that f maps to NULL must reach T, and be refused there.)
 */
function absentSql(plan: TablePlan, first: string, last: string): string {
  const { target } = plan.names;
  const [key, ...more] = plan.targetKey;
  const from = plan.sourceKey[0]?.type ?? '';
  const cast = /^\(?s\.(?:"(?:[^"]|"")+"|\w+)\)?(?:::[a-z]+)?$/.test(key?.value ?? '');
  if (!key || more.length || !cast || !wholeNumbers.includes(key.type) || !wholeNumbers.includes(from))
    return `not exists (select 1 from ${target} t where ${rowsMatch(plan)})`;
  const column = `t.${ident(key.name)}`;
  return `(${key.value} in (select ${column} from ${target} t where ${column} between ${first} and ${last})) is not true`;
}

/**
 * Copies the next run of keys of a range and moves its cursor, in one statement and so one snapshot. Rows that T has
 * already (members) are left to refresh. No ON CONFLICT: a map that is not one to one must fail loudly.
 * @returns source rows passed
 */
export async function copyChunk(
  client: ClientBase,
  plan: TablePlan,
  range: KeyRange,
  limit: number,
): Promise<{ passed: number }> {
  const { source, range: ranges } = plan.names;
  const low = range.cursor ?? range.low;
  const key = sourceKey(plan);
  const columns = key.split(', ');
  const within = withinBounds(plan, key, { low, high: range.high }, 3);
  const k = (of: string) => columns.map((_, i) => `(select k${i + 1} from ${of})`);
  const end = (place: string) =>
    `select ${columns.map((column, i) => `${column} as k${i + 1}`).join(', ')} from ${source} s where ${within.sql} order by ${place}`;
  const backwards = columns.map((column) => `${column} desc`).join(', ');
  const passed = `${within.sql} and (${key}) <= (${k('last')})`;
  const cursor = k('last').map((value, i) => `cur_k${i + 1} = coalesce(${value}, r.cur_k${i + 1})`);
  const { rows } = await client.query<{ passed: number }>({
    name: `copy_chunk_${planLabel(plan)}_${low ? 'l' : ''}${range.high ? 'h' : ''}`,
    // The last key of the chunk, or of the range if less is left of it, is found in the index alone.
    text: `with first as materialized (${end(key)} limit 1),
      nth as materialized (${end(key)} offset $2 - 1 limit 1),
      last as materialized (
        select * from nth union all (${end(backwards)} limit (select 1 - count(*) from nth))),
      passed as materialized (select count(*)::int as n from ${source} s where ${passed}),
      copied as (
        ${insertIntoTarget(plan)}
        select ${rowMap(plan)} from ${source} s
         where ${passed} and ${absentSql(plan, `${k('first')}`, `${k('last')}`)}),
      moved as (
        update ${ranges} r set ${cursor.join(', ')}, copied = r.copied + (select n from passed),
               done = not exists (select 1 from ${source} s where ${within.sql} and (${key}) > (${k('last')}))
         where r.range_id = $1)
      select n as passed from passed`,
    values: [range.rangeId, limit, ...within.values],
  });
  return rows[0] as { passed: number };
}

/** All ranges in key order: they partition the key space, both ends open. */
export async function sourceRanges(db: ClientBase | Pool, plan: TablePlan): Promise<KeyBounds[]> {
  const { rows } = await (db as Pool).query<KeyBounds>(
    `select ${texts(plan, 'lo', 'r')} as low, ${texts(plan, 'hi', 'r')} as high from ${plan.names.range} r order by r.range_id`,
  );
  return rows;
}

/**
 * The last of the next `rows` keys of S within bounds, found in the index alone.
 * @returns null when there are not that many: what is left is the end, with whatever is inserted behind it
 */
export async function lastKeyOf(
  db: ClientBase | Pool,
  plan: TablePlan,
  bounds: KeyBounds,
  rows: number,
): Promise<string[] | null> {
  const key = sourceKey(plan);
  const within = withinBounds(plan, key, bounds, 2);
  const texts = key
    .split(', ')
    .map((column) => `${column}::text`)
    .join(', ');
  const { rows: found } = await (db as Pool).query<{ key: string[] }>(
    `select array[${texts}] as key from ${plan.names.source} s where ${within.sql} order by ${key} offset $1 - 1 limit 1`,
    [rows, ...within.values],
  );
  return found[0]?.key ?? null;
}
