import type { ClientBase } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import { mappedKeyOf, sourceKeyOf, sourceMatches, targetMatches } from '../sync/fragments.ts';
import { binder } from './bind.ts';
import { castTo } from './fields.ts';

/** Names of the columns whose type has no equality (json, xml, point …), in either table. */
export interface WithoutEquality {
  readonly source: ReadonlySet<string>;
  readonly target: ReadonlySet<string>;
}

/** A type has equality when it, or the type of its elements or domain, has a default btree or hash operator class. */
export async function columnsWithoutEquality(client: ClientBase, plan: TablePlan): Promise<WithoutEquality> {
  const { rows } = await client.query<{ table: 'source' | 'target'; column: string }>(
    `with recursive part(rel, col, typid) as (
       select a.attrelid, a.attname, a.atttypid
         from pg_attribute a
        where a.attrelid in ($1::oid, $2::oid) and a.attnum > 0 and not a.attisdropped
       union all
       select p.rel, p.col, case when t.typtype = 'd' then t.typbasetype else t.typelem end
         from part p join pg_type t on t.oid = p.typid
        where t.typtype = 'd' or (t.typcategory = 'A' and t.typelem <> 0)
     )
     select case p.rel when $1::oid then 'source' else 'target' end as table, p.col::text as column
       from part p join pg_type t on t.oid = p.typid
      where not (t.typtype = 'd' or (t.typcategory = 'A' and t.typelem <> 0))
        and t.typtype not in ('e', 'r', 'm')
        and not exists (
          select from pg_opclass o join pg_am m on m.oid = o.opcmethod
           where o.opcdefault and m.amname in ('btree', 'hash')
             and (o.opcintype = t.oid or exists (
               select from pg_cast c
                where c.castsource = t.oid and c.casttarget = o.opcintype and c.castmethod = 'b'
                  and c.castcontext = 'i')))`,
    [plan.sourceOid, plan.targetOid],
  );
  const of = (table: 'source' | 'target') =>
    new Set(rows.filter((row) => row.table === table).map((row) => row.column));
  return { source: of('source'), target: of('target') };
}

/** A condition over s and t that must be true for every member; NULL fails. */
export interface RowCheck {
  readonly kind: 'back' | 'invariant';
  readonly name: string;
  readonly sql: string;
}

/** back(f(row)) = row for each back-mapped column, and the invariants. */
export function rowChecks(plan: TablePlan, without: WithoutEquality): RowCheck[] {
  const sources = new Map(plan.sourceColumns.map((column) => [column.name, column]));
  const backs = plan.back.flatMap(({ column, expression }) => {
    const source = sources.get(column);
    if (!source) return [];
    // strings byte by byte: T's collation and S's may differ, and then nothing but bytes can be compared
    const asText = source.category === 'S' || without.source.has(column);
    const sql = same(castTo(expression, source.type), `s.${ident(column)}`, asText);
    return [{ kind: 'back', name: column, sql } as const];
  });
  return [...backs, ...plan.invariants.map(({ name, sql }) => ({ kind: 'invariant', name, sql }) as const)];
}

function same(a: string, b: string, asText: boolean): string {
  return asText
    ? `(${a})::text collate "C" is not distinct from (${b})::text collate "C"`
    : `(${a}) is not distinct from (${b})`;
}

export interface CheckSample {
  /** of random members the ones with u at or above `from` and below `until` */
  readonly from: number;
  readonly until: number;
  /** share of the members to check; which ones, `salt` decides */
  readonly rate: number;
  readonly salt: number;
}

/** What the checks found in one part of the table. */
export interface CheckedPart {
  readonly certain: boolean;
  readonly checked: number;
  readonly syncFound: number;
  readonly syncExamples: readonly (readonly string[])[] | null;
  /** members with both rows, so that the checks could look at them */
  readonly mapChecked: number;
  readonly mapFound: number;
  /** one entry a check, in their order */
  readonly results: readonly {
    readonly found: number;
    readonly nulls: number;
    readonly examples: readonly (readonly string[])[] | null;
  }[];
}

/**
 * Compares members with f(S) computed afresh and runs the checks, in one statement and so in one snapshot. Keys in the
 * key log are left out: T may lag behind there, rightly. A member gone from both tables is no member.
 */
export async function checkMembers(
  client: ClientBase,
  plan: TablePlan,
  checks: readonly RowCheck[],
  without: WithoutEquality,
  { from, until, rate, salt }: CheckSample,
): Promise<CheckedPart[]> {
  const { values, bind } = binder();
  const { names } = plan;
  const key = plan.sourceKey.map((_, i) => `m.k${i + 1}`);
  const hash = (seed: string) =>
    `((hash_record_extended(row(${sourceKeyOf(plan, 'm')}), ${seed}::bigint) >> 11) & 9007199254740991)::float8`;
  const drawn = rate < 1 ? `and ${hash(bind(salt))} / 9007199254740992.0 < ${bind(rate)}::float8` : '';
  const equal = plan.columns.map((column) =>
    same(`t.${ident(column.name)}`, column.value, without.target.has(column.name)),
  );
  const sourceThere = `s.${ident(plan.sourceKey[0]!.name)} is not null`;
  const targetThere = `t.${ident(plan.targetKey[0]!.name)} is not null`;
  const examples = (condition: string) => `to_jsonb((array_agg(key) filter (where ${condition}))[1:3])`;
  const results = checks.map(
    (_, i) => `jsonb_build_object(
      'found', count(*) filter (where both_there and c${i} is not true),
      'nulls', count(*) filter (where both_there and c${i} is null),
      'examples', ${examples(`both_there and c${i} is not true`)})`,
  );
  const failing = checks.map((_, i) => `c${i} is not true`).join(' or ') || 'false';
  const { rows } = await client.query<CheckedPart>(
    `with checked as materialized (
       select m.stratum <> 'random' as certain, jsonb_build_array(${key.map((k) => `${k}::text`).join(', ')}) as key,
              b.both_there,
              case when b.both_there then ${equal.join('\n and ')} else false end as same
              ${checks.map(({ sql }, i) => `, case when b.both_there then (${sql}) end as c${i}`).join('\n')}
         from ${names.member} m
         left join ${names.source} s on ${sourceMatches(plan, 'm')}
         left join ${names.target} t on ${targetMatches(plan, 'm')}
        cross join lateral (select ${sourceThere} and ${targetThere} as both_there) b
        where m.state <> 'wanted' and (m.stratum <> 'random' or m.u >= ${bind(from)}::float8 and m.u < ${bind(until)}::float8) ${drawn}
          and not exists (select from ${names.keyLog} l where (${mappedKeyOf(plan, 'l')}) = (${mappedKeyOf(plan, 'm')}))
          and (${sourceThere} or ${targetThere})
     )
     select certain, count(*)::float8 as checked, count(*) filter (where not same)::float8 as "syncFound",
            ${examples('not same')} as "syncExamples",
            count(*) filter (where both_there)::float8 as "mapChecked",
            count(*) filter (where both_there and (${failing}))::float8 as "mapFound",
            jsonb_build_array(${results.join(', ')}) as results
       from checked
      group by certain`,
    values,
  );
  return rows;
}
