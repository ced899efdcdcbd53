import type { ClientBase, Pool } from 'pg';
import type { TablePlan } from '../core/plan.ts';
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

/** The hottest range of the lane that is not copied yet; null when the lane is done. */
export async function nextRange(client: ClientBase, plan: TablePlan, lane: number): Promise<KeyRange | null> {
  const { rows } = await client.query<KeyRange>({
    name: `next_range_${plan.migrationId}`,
    text: `select r.range_id as "rangeId", ${texts(plan, 'lo', 'r')} as low, ${texts(plan, 'hi', 'r')} as high,
                  ${texts(plan, 'cur', 'r')} as cursor
             from ${plan.names.range} r where r.lane = $1 and not r.done order by r.heat desc, r.range_id limit 1`,
    values: [lane],
  });
  return rows[0] ?? null;
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

/**
 * Copies the next run of keys of a range and moves its cursor, in one statement and so one snapshot. Rows that T has
 * already (members) are left to refresh. No ON CONFLICT: a map that is not one to one must fail loudly.
 * @returns source rows passed, and rows inserted
 */
export async function copyChunk(
  client: ClientBase,
  plan: TablePlan,
  range: KeyRange,
  limit: number,
): Promise<{ passed: number; copied: number }> {
  const { source, target, range: ranges } = plan.names;
  const low = range.cursor ?? range.low;
  const within = withinBounds(plan, sourceKey(plan), { low, high: range.high }, 3);
  const keys = plan.sourceKey.map((column) => ident(column.name));
  const cursor = plan.sourceKey.map(
    (_, i) => `cur_k${i + 1} = coalesce((select k${i + 1} from last), r.cur_k${i + 1})`,
  );
  const { rows } = await client.query<{ passed: number; copied: number }>({
    name: `copy_chunk_${plan.migrationId}_${low ? 'l' : ''}${range.high ? 'h' : ''}`,
    text: `with src as materialized (
        select s.* from ${source} s where ${within.sql} order by ${sourceKey(plan)} limit $2),
      last as (
        select ${keys.map((key, i) => `src.${key} as k${i + 1}`).join(', ')} from src
         order by ${keys.map((key) => `src.${key} desc`).join(', ')} limit 1),
      copied as (
        ${insertIntoTarget(plan)}
        select ${rowMap(plan)} from src s where not exists (select 1 from ${target} t where ${rowsMatch(plan)})
        returning 1),
      moved as (
        update ${ranges} r set ${cursor.join(', ')}, copied = r.copied + (select count(*) from src),
               done = (select count(*) from src) < $2
         where r.range_id = $1)
      select (select count(*) from src)::int as passed, (select count(*) from copied)::int as copied`,
    values: [range.rangeId, limit, ...within.values],
  });
  return rows[0] as { passed: number; copied: number };
}

/** All ranges in key order: they partition the key space, both ends open. */
export async function sourceRanges(db: ClientBase | Pool, plan: TablePlan): Promise<KeyBounds[]> {
  const { rows } = await (db as Pool).query<KeyBounds>(
    `select ${texts(plan, 'lo', 'r')} as low, ${texts(plan, 'hi', 'r')} as high from ${plan.names.range} r order by r.range_id`,
  );
  return rows;
}
