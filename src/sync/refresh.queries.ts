import type { ClientBase } from 'pg';
import { ForeshadowError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import { planLabel, type TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import {
  fixedDiffers,
  insertIntoTarget,
  type KeyBounds,
  mappedKeyColumns,
  mappedKeyOf,
  ourKeyColumns,
  permanentRandom,
  rowMap,
  sourceKeyOf,
  sourceMatches,
  targetMatches,
  upsert,
  withinBounds,
} from './fragments.ts';
import { insertByKeys, keyTexts } from './keys.queries.ts';

export interface Refreshed {
  /** log rows consumed */
  readonly taken: number;
  /** keys made equal to S, deletions included */
  readonly refreshed: number;
  /** fresh rows admitted to the shadow */
  readonly admitted: number;
  /** seconds from a change to its refresh, of some of the rows */
  readonly lags: readonly number[];
}

/** Consumed log rows become change events, which prediction lives on. On the way back nothing is predicted any more. */
export function keepEventsSql(plan: TablePlan): string {
  if (plan.reverse) return '';
  return `events as (
      insert into ${plan.names.changeEvent} select ${sourceKeyOf(plan, 'l')}, l.op, l.at from taken l returning 1),`;
}

/**
 * Takes log rows by identity (a transaction that took an earlier place may commit later: no cursor), and their
 * distinct mapped keys with any one raw key. Appends them to the change events.
 */
function takeSql(plan: TablePlan, lane: string, limit: string): string {
  const { keyLog } = plan.names;
  const keys = `${sourceKeyOf(plan, 'l')}, ${mappedKeyOf(plan, 'l')}`;
  return `taken as (
      delete from ${keyLog} l
       where l.ctid = any (array(select l.ctid from ${keyLog} l where ${lane} limit ${limit}))
      returning ${keys}, l.op, l.at),
    ${keepEventsSql(plan)}
    dirty as (
      select distinct on (${mappedKeyOf(plan, 'l')}) ${keys}, l.op = 'I' as fresh
        from taken l order by ${mappedKeyOf(plan, 'l')}, (l.op <> 'I'))`;
}

const countsSql = `(select count(*) from taken)::int as taken,
    array(select extract(epoch from clock_timestamp() - at)::float8 from taken limit 32) as lags`;

/** Source keys of log rows of alias l without a mapped key whose row S still has: nothing could bring such a row to T. */
export function unmappedSql(plan: TablePlan): string {
  const none = plan.targetKey.map((_, i) => `l.m${i + 1} is null`).join(' or ');
  const key = plan.sourceKey.map((_, i) => `l.k${i + 1}::text`).join(` || ',' || `);
  const same = plan.sourceKey.map((column, i) => `s.${ident(column.name)} = l.k${i + 1}`).join(' and ');
  return `array(select ${key} from taken l
     where (${none}) and exists (select 1 from ${plan.names.source} s where ${same}) limit 10) as unmapped`;
}

/** @throws ForeshadowError MAP_FAILS: taking such a log row away would lose the change without a word */
export function requireMapped(plan: TablePlan, unmapped: readonly string[]): void {
  if (!unmapped.length) return;
  throw new ForeshadowError(
    'MAP_FAILS',
    `the row map of ${plan.names.source} gives no key for rows ${unmapped.join('; ')}`,
    { keys: unmapped },
  );
}

/**
 * Makes T agree with S for the keys of `touch`, in this statement's snapshot: delete what S lacks, upsert f(S). Rows that
 * an upsert could not make equal are deleted too, and are named in `anew`: {@link bringAnew} inserts them.
 */
function agreeSql(plan: TablePlan): string {
  const { target, source } = plan.names;
  const fixed = fixedDiffers(plan);
  const anew = fixed
    ? `anew as (
      delete from ${target} t using touch d, ${source} s
       where ${targetMatches(plan, 'd')} and ${sourceMatches(plan, 'd')} and (${fixed})
      returning ${keyTexts(plan, 'd')} as key)`
    : `anew as (select null::text[] as key where false)`;
  const upsertable = fixed
    ? `where not exists (select 1 from ${target} t where ${targetMatches(plan, 'd')} and (${fixed}))`
    : '';
  return `${anew}, gone as (
      delete from ${target} t using touch d
       where ${targetMatches(plan, 'd')} and not exists (select 1 from ${source} s where ${sourceMatches(plan, 'd')})
      returning 1),
    kept as (
      ${insertIntoTarget(plan)}
      select ${rowMap(plan)} from touch d join ${source} s on ${sourceMatches(plan, 'd')} ${upsertable}
      ${upsert(plan)} returning 1)`;
}

type Found = Refreshed & { readonly anew: string[][]; readonly unmapped: string[] };
const anewSql = `coalesce((select array_agg(key) from anew), '{}') as anew`;

/** The second half of a refresh, at a later snapshot. Safe, since what changes in between has log rows of its own. */
async function bringAnew(
  client: ClientBase,
  plan: TablePlan,
  { anew, unmapped, ...refreshed }: Found,
): Promise<Refreshed> {
  requireMapped(plan, unmapped);
  if (!anew.length) return refreshed;
  await failpoint('refresh.anew');
  await insertByKeys(client, plan, anew);
  return refreshed;
}

/** Mode IN_PROGRESS: every dirty key of the lane, always. One statement, one snapshot. */
export async function refreshAll(
  client: ClientBase,
  plan: TablePlan,
  bounds: KeyBounds,
  limit: number,
): Promise<Refreshed> {
  const lane = withinBounds(plan, sourceKeyOf(plan, 'l'), bounds, 2);
  const { rows } = await client.query<Found>({
    name: `refresh_all_${planLabel(plan)}_${lane.values.length}${bounds.low ? 'l' : ''}`,
    text: `with ${takeSql(plan, lane.sql, '$1')},
      touch as (select * from dirty), ${agreeSql(plan)}
      select ${countsSql}, (select count(*) from touch)::int as refreshed, 0 as admitted, ${anewSql}, ${unmappedSql(plan)}`,
    values: [limit, ...lane.values],
  });
  return bringAnew(client, plan, rows[0] as (typeof rows)[0]);
}

/**
 * Mode SHADOWING: only rows that are in T already, and rows inserted since the last choice: those are admitted at once
 * (stratum `new`) while the lane has room, else when their permanent random number says so (stratum `random`).
 */
export async function refreshMembers(
  client: ClientBase,
  plan: TablePlan,
  bounds: KeyBounds,
  limit: number,
  lane: { migrationId: number; lane: number; pi0: number; newRoom: number },
): Promise<Refreshed> {
  const { target, source, member } = plan.names;
  const inLane = withinBounds(plan, sourceKeyOf(plan, 'l'), bounds, 6);
  const keys = `${sourceKeyOf(plan, 'd')}, ${mappedKeyOf(plan, 'd')}`;
  const { rows } = await client.query<Found>({
    name: `refresh_members_${planLabel(plan)}_${inLane.values.length}${bounds.low ? 'l' : ''}`,
    text: `with ${takeSql(plan, inLane.sql, '$1')},
      known as (
        select d.*, exists (select 1 from ${target} t where ${targetMatches(plan, 'd')}) as present,
               ${permanentRandom(plan, sourceKeyOf(plan, 'd'))} as u
          from dirty d),
      fresh as (
        select d.*, row_number() over () <= $5::int as has_room
          from known d
         where d.fresh and not d.present and exists (select 1 from ${source} s where ${sourceMatches(plan, 'd')})),
      admitted as (
        insert into ${member} (${ourKeyColumns(plan)}, stratum, probability, u, state, since)
        select ${keys}, case when d.has_room then 'new' else 'random' end, case when d.has_room then 1.0 else $4::float8 end,
               d.u, 'present', clock_timestamp()
          from fresh d where d.has_room or d.u < $4::float8
        on conflict (${mappedKeyColumns(plan)}) do update set state = 'present', since = excluded.since
        returning ${ourKeyColumns(plan)}, stratum),
      room as (
        update foreshadow.lane set new_room = greatest(0, new_room - (select count(*) from fresh d where d.has_room))
         where migration_id = $2 and lane = $3),
      departed as (
        delete from ${member} d using dirty l
         where (${mappedKeyOf(plan, 'd')}) = (${mappedKeyOf(plan, 'l')})
           and not exists (select 1 from ${source} s where ${sourceMatches(plan, 'l')})),
      touch as (
        select ${keys} from known d where d.present
        union all select ${keys} from admitted d), ${agreeSql(plan)}
      select ${countsSql}, (select count(*) from touch)::int as refreshed, (select count(*) from admitted)::int as admitted, ${anewSql},
             ${unmappedSql(plan)}`,
    values: [limit, lane.migrationId, lane.lane, lane.pi0, lane.newRoom, ...inLane.values],
  });
  return bringAnew(client, plan, rows[0] as (typeof rows)[0]);
}
