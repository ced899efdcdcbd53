import type { ClientBase } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { sourceKeyOf, targetMatches } from '../sync/fragments.ts';
import { binder } from './bind.ts';
import { type BinCount, countByBin } from './count-by-bin.ts';
import { type BinnedFacet, binSql } from './facets.ts';

export interface MemberState {
  /** rows of A that are wanted and not yet in T */
  readonly absentA: number;
  /** rows of A that are in T */
  readonly presentA: number;
  /** u of the first random member that is wanted and not yet in T; null when all are there */
  readonly firstAbsent: number | null;
  /** start of this transaction, seconds since the epoch */
  readonly now: number;
}

/** Asked of the indexes of certain and of absent members, so that the present random ones, which may be many, cost nothing. */
export async function memberState(client: ClientBase, plan: TablePlan): Promise<MemberState> {
  const { member } = plan.names;
  const { rows } = await client.query<MemberState>(
    `select count(*) filter (where state = 'wanted')::float8 as "absentA",
            count(*) filter (where state <> 'wanted')::float8 as "presentA",
            (select u from ${member} where state = 'wanted' and (stratum = 'random') is true order by u limit 1) as "firstAbsent",
            extract(epoch from now())::float8 as now
       from ${member} where stratum <> 'random'`,
  );
  return rows[0]!;
}

/** Part 0 is A, whole; part 1 is B, by its random members with u below `piEff`. */
export async function memberCounts(
  client: ClientBase,
  plan: TablePlan,
  facets: readonly BinnedFacet[],
  piEff: number,
): Promise<BinCount[]> {
  const { values, bind } = binder();
  const bins = facets.map((facet) => binSql(facet, 'targetSql', bind));
  const sql = countByBin(
    bins,
    `case when m.stratum = 'random' then 1 else 0 end`,
    `${plan.names.member} m join ${plan.names.target} t on ${targetMatches(plan, 'm')}`,
    `m.state <> 'wanted' and (m.stratum <> 'random' or m.u < ${bind(piEff)}::float8)`,
  );
  return (await client.query<BinCount>(sql, values)).rows;
}

/**
 * Distinct keys changed since `since` (seconds since the epoch), refreshed or not, and of these the ones changed
 * since `windowStart`.
 */
export async function changedKeys(
  client: ClientBase,
  plan: TablePlan,
  since: number,
  windowStart: number,
): Promise<{ changed: number; inWindow: number }> {
  const keys = sourceKeyOf(plan, 'e');
  const { rows } = await client.query<{ changed: number; inWindow: number }>(
    `select count(*)::float8 as changed,
            count(*) filter (where last >= to_timestamp($2))::float8 as "inWindow"
       from (select ${keys}, max(at) as last
               from (select ${keys}, e.at from ${plan.names.keyLog} e where e.at >= to_timestamp($1)
                     union all
                     select ${keys}, e.at from ${plan.names.changeEvent} e where e.at >= to_timestamp($1)) e
              group by ${keys}) e`,
    [since, windowStart],
  );
  return rows[0]!;
}
