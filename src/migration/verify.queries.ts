import type { ClientBase, Pool } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import { transaction } from '../db/tx.ts';
import { mappedRowsSql } from '../shadow/overlay.ts';
import {
  type KeyBounds,
  mappedMatches,
  rowsMatch,
  sourceKey,
  targetMatches,
  withinBounds,
} from '../sync/fragments.ts';
import { keepsKeysApart } from './key-map.ts';

/** Differences between T and f(S), keys with pending log rows left out. Keys are texts, at most `named` of each kind. */
export interface Comparison {
  missing: number;
  extra: number;
  different: number;
  compared: number;
  keys: { missing: string[]; extra: string[]; different: string[] };
}

export const named = 20;

/**
 * A session for the comparisons below. A run of rows is looked up key by key, in an index: a hash or a merge join would
 * read all of the other table for every run, which a planner that thinks of one statement only takes for the cheaper way,
 * and parallel workers would take the application's processors.
 */
export const comparing = <T>(pool: Pool, body: (client: ClientBase) => Promise<T>): Promise<T> =>
  transaction(pool, async (client) => {
    await client.query(
      `set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_material = off;
       set local enable_seqscan = off; set local max_parallel_workers_per_gather = 0`,
    );
    return body(client);
  });

const targetKeyText = (plan: TablePlan, alias: string) =>
  plan.targetKey.map((column) => `${alias}.${ident(column.name)}::text`).join(` || ',' || `);

/**
 * The row m of f(S) shares its target key with another one. Asked only of maps that do not keep keys apart. Where the
 * rows are alike in all other columns too, no comparison with T would tell: it has one of them.
 */
function sharedKeySql(plan: TablePlan): string {
  if (keepsKeysApart(plan)) return 'false';
  const same = plan.targetKey.map((column) => `${column.value} = m.${ident(column.name)}`).join(' and ');
  return `(select count(*) from (select 1 from ${plan.names.source} s where ${same} limit 2) as sharing) > 1`;
}

/**
 * f(S) within bounds against T, by key: rows T lacks and rows that differ, among them those that share their target key.
 * One statement, one snapshot; rows are compared by image, so 1.0 and 1.00, NULL and '' are told apart.
 */
export async function compareSource(
  client: ClientBase,
  plan: TablePlan,
  bounds: KeyBounds,
): Promise<Comparison> {
  const { target, keyLog } = plan.names;
  const within = withinBounds(plan, sourceKey(plan), bounds, 1);
  const row = (alias: string) =>
    `row(${plan.targetOrder.map((name) => `${alias}.${ident(name)}`).join(', ')})`;
  const same = plan.targetKey
    .map((column) => `t.${ident(column.name)} = m.${ident(column.name)}`)
    .join(' and ');
  const clean = `not exists (select 1 from ${keyLog} l where ${mappedMatches(plan, 'l')})`;
  const first = ident(plan.targetKey[0]?.name ?? '');
  const { rows } = await client.query<{
    missing: string;
    different: string;
    compared: string;
    m: string[] | null;
    d: string[] | null;
  }>(
    `with m as (${mappedRowsSql(plan, `${within.sql} and ${clean}`)}),
     pair as (
       select ${targetKeyText(plan, 'm')} as key, t.${first} is null as missing,
              t.${first} is not null and (record_image_ne(${row('m')}, ${row('t')}) or ${sharedKeySql(plan)}) as different
         from m left join ${target} t on ${same})
     select count(*) filter (where missing) as missing, count(*) filter (where different) as different, count(*) as compared,
            (array_agg(key) filter (where missing))[1:${named}] as m, (array_agg(key) filter (where different))[1:${named}] as d
       from pair`,
    within.values,
  );
  const found = rows[0] as (typeof rows)[0];
  return {
    missing: Number(found.missing),
    extra: 0,
    different: Number(found.different),
    compared: Number(found.compared),
    keys: { missing: found.m ?? [], extra: [], different: found.d ?? [] },
  };
}

/** A run of T's keys that no row of S maps to. `after` null begins at the first; `next` null means that was the last. */
export async function compareTarget(
  client: ClientBase,
  plan: TablePlan,
  after: readonly string[] | null,
  limit: number,
): Promise<{ extra: number; keys: string[]; rows: number; next: string[] | null }> {
  const { target, keyLog, source } = plan.names;
  const columns = plan.targetKey.map((column) => `t.${ident(column.name)}`).join(', ');
  const past = after
    ? `(${columns}) > (${plan.targetKey.map((column, i) => `$${i + 2}::${column.type}`).join(', ')})`
    : 'true';
  const { rows } = await client.query<{
    extra: string;
    keys: string[] | null;
    n: string;
    last: string[] | null;
  }>(
    `with t as materialized (select t.* from ${target} t where ${past} order by ${columns} limit $1),
     stray as (
       select ${targetKeyText(plan, 't')} as key from t
        where not exists (select 1 from ${source} s where ${rowsMatch(plan)})
          and not exists (select 1 from ${keyLog} l where ${targetMatches(plan, 'l')}))
     select (select count(*) from stray) as extra, (select (array_agg(key))[1:${named}] from stray) as keys,
            (select count(*) from t) as n,
            (select array[${plan.targetKey.map((column) => `t.${ident(column.name)}::text`).join(', ')}] from t
              order by ${plan.targetKey.map((column) => `t.${ident(column.name)} desc`).join(', ')} limit 1) as last`,
    [limit, ...(after ?? [])],
  );
  const found = rows[0] as (typeof rows)[0];
  return {
    extra: Number(found.extra),
    keys: found.keys ?? [],
    rows: Number(found.n),
    next: Number(found.n) < limit ? null : found.last,
  };
}

/** Marks the rows of S within bounds whose image in T is missing or different, so that a lane copies them anew. */
export async function redirty(client: ClientBase, plan: TablePlan, bounds: KeyBounds): Promise<number> {
  const { target, source, keyLog } = plan.names;
  const within = withinBounds(plan, sourceKey(plan), bounds, 1);
  const k = plan.sourceKey.map((column) => `s.${ident(column.name)}`).join(', ');
  const m = plan.targetKey.map((column) => column.value).join(', ');
  const columns = [
    ...plan.sourceKey.map((_, i) => `k${i + 1}`),
    ...plan.targetKey.map((_, i) => `m${i + 1}`),
  ].join(', ');
  const values = plan.columns.map((column) => column.value).join(', ');
  const held = plan.columns.map((column) => `t.${ident(column.name)}`).join(', ');
  const { rowCount } = await client.query(
    `insert into ${keyLog} (${columns}, op)
     select ${k}, ${m}, 'U' from ${source} s left join ${target} t on ${rowsMatch(plan)}
      where ${within.sql} and (t.${ident(plan.targetKey[0]?.name ?? '')} is null or record_image_ne(row(${values}), row(${held})))`,
    within.values,
  );
  return rowCount ?? 0;
}
