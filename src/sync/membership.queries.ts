import type { ClientBase } from 'pg';
import { planLabel, type TablePlan } from '../core/plan.ts';
import {
  insertIntoTarget,
  type KeyBounds,
  mappedKeyOf,
  rowMap,
  sourceKeyOf,
  sourceMatches,
  targetMatches,
  upsert,
  withinBounds,
} from './fragments.ts';

/**
 * Puts the next wanted rows into T: the certain set first, then random rows in order of u, so that the random rows
 * present are always all rows of B below some u. Wanted keys that S no longer has are forgotten.
 */
export async function admitWanted(
  client: ClientBase,
  plan: TablePlan,
  bounds: KeyBounds,
  limit: number,
): Promise<{ admitted: number; gone: number }> {
  const { source, member } = plan.names;
  const lane = withinBounds(plan, sourceKeyOf(plan, 'd'), bounds, 2);
  const same = `(${mappedKeyOf(plan, 'd')}) = (${mappedKeyOf(plan, 'w')})`;
  const { rows } = await client.query<{ admitted: number; gone: number }>({
    name: `admit_${planLabel(plan)}_${lane.values.length}${bounds.low ? 'l' : ''}`,
    text: `with w as materialized (
        select ${sourceKeyOf(plan, 'd')}, ${mappedKeyOf(plan, 'd')} from ${member} d
         where d.state = 'wanted' and ${lane.sql}
         order by (d.stratum = 'random'), d.u limit $1 for update),
      kept as (
        ${insertIntoTarget(plan)}
        select ${rowMap(plan)} from w join ${source} s on ${sourceMatches(plan, 'w')}
        ${upsert(plan)} returning 1),
      present as (
        update ${member} d set state = 'present', since = clock_timestamp() from w
         where ${same} and exists (select 1 from ${source} s where ${sourceMatches(plan, 'w')}) returning 1),
      gone as (
        delete from ${member} d using w
         where ${same} and not exists (select 1 from ${source} s where ${sourceMatches(plan, 'w')}) returning 1)
      select (select count(*) from present)::int as admitted, (select count(*) from gone)::int as gone,
             (select count(*) from kept)::int as kept`,
    values: [limit, ...lane.values],
  });
  return rows[0] as { admitted: number; gone: number };
}

/** Takes rows that are no longer wanted out of T again. */
export async function evictLeaving(
  client: ClientBase,
  plan: TablePlan,
  bounds: KeyBounds,
  limit: number,
): Promise<{ evicted: number }> {
  const { target, member } = plan.names;
  const lane = withinBounds(plan, sourceKeyOf(plan, 'd'), bounds, 2);
  const { rows } = await client.query<{ evicted: number }>({
    name: `evict_${planLabel(plan)}_${lane.values.length}${bounds.low ? 'l' : ''}`,
    text: `with w as materialized (
        select ${sourceKeyOf(plan, 'd')}, ${mappedKeyOf(plan, 'd')} from ${member} d
         where d.state = 'leaving' and ${lane.sql} order by (d.stratum = 'random'), d.u limit $1 for update),
      out as (delete from ${target} t using w where ${targetMatches(plan, 'w')} returning 1),
      forgotten as (
        delete from ${member} d using w where (${mappedKeyOf(plan, 'd')}) = (${mappedKeyOf(plan, 'w')}) returning 1)
      select (select count(*) from forgotten)::int as evicted, (select count(*) from out)::int as removed`,
    values: [limit, ...lane.values],
  });
  return rows[0] as { evicted: number };
}
