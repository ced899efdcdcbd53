import type { ClientBase, Pool } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { together } from '../../db/tx.ts';
import { dropCaptureFunctionsSql, dropCaptureSql } from '../../sync/capture.ts';
import type { Migration } from '../status.store.ts';
import { openWayBackSql } from '../way-back/open.ts';
import { checksSql, commentsSql, defaultsSql } from './carry.ts';
import { rowSecuritySql } from './carry-policies.ts';
import { identitySql, settingsSql } from './carry-settings.ts';
import type { HandoverPlan } from './handovers.ts';
import { finalName, forwardMove, type Move } from './move.ts';
import { carriedNamesSql, stepAsideSql } from './names.ts';
import type { Script } from './script.ts';

export const guardTrigger = 'foreshadow_guard';
const guardFunction = (migration: Migration) => ident('foreshadow', `guard_${migration.id}`);
const guardProbe = (migration: Migration) => ident('foreshadow', `guard_probe_${migration.id}`);

/** Where the old table goes: our schema, as <name>_old, until finalize. */
export function oldTable(migration: Migration): { schema: string; name: string } {
  const { name } = physicalOf(migration).source;
  return { schema: 'foreshadow', name: `${name.slice(0, 59)}_old` };
}

export function physicalOf(migration: Migration) {
  if (!migration.physical) throw new Error(`migration ${migration.name} has not begun`);
  return migration.physical;
}

/** T's public name after the write cutover. */
export function finalTable(migration: Migration): { schema: string; name: string } {
  const physical = physicalOf(migration);
  return migration.definition.cutover.finish === 'swap' ? physical.source : physical.target;
}

/** What the write cutover hands over. */
export const moveOf = (migration: Migration): Move =>
  forwardMove(
    migration.plan,
    physicalOf(migration).source,
    finalTable(migration),
    Number(migration.overlay_oid ?? 0),
  );

/** The statements of the swap, to be run under ACCESS EXCLUSIVE on S, T and overlay, with the transaction's status row. */
export async function swapScript(
  client: ClientBase,
  migration: Migration,
  handover: HandoverPlan,
): Promise<Script> {
  const { plan } = migration;
  const { source, carried } = physicalOf(migration);
  const move = moveOf(migration);
  const passing = `foreshadow_passing_${migration.id}`;
  const swap = migration.definition.cutover.finish === 'swap';
  const [aside, comments, defaults, checks, settings, identity, security, names, wayBack] = await together(
    client,
    [
      async () =>
        swap ? stepAsideSql(client, { oid: plan.sourceOid, schema: source.schema }, oldTable(migration)) : [],
      () => commentsSql(client, move),
      () => defaultsSql(client, move),
      () => checksSql(client, move),
      () => settingsSql(client, move),
      () => identitySql(client, move),
      () => rowSecuritySql(client, move),
      () => carriedNamesSql(client, carried, plan.targetOid, move.final, swap ? plan.sourceOid : 0),
      () => openWayBackSql(client, migration, move.final, swap ? oldTable(migration) : source),
    ],
  );
  const renames = swap ? [...aside, ...swapNames(migration, passing)] : routeNames(migration);
  return ({ sequences, grants }) => [
    ...dropCaptureSql(plan),
    ...dropCaptureFunctionsSql(plan),
    ...handover.before,
    ...sequences.before,
    ...renames,
    // the owner first: a sequence has that of its table
    ...grants,
    ...sequences.after,
    ...comments,
    ...defaults,
    ...checks,
    ...settings,
    ...identity,
    ...names,
    ...handover.after,
    ...security,
    ...guardSql(migration, [finalName(move), ...handover.relatives.map(({ name }) => name)]),
    `insert into ${plan.names.overlayGate} values (pg_catalog.clock_timestamp())`,
    settleLaterSql(migration, handover),
    // last: it remembers what both tables look like from now on
    ...wayBack,
  ];
}

function swapNames(migration: Migration, passing: string): string[] {
  const { source, target } = physicalOf(migration);
  const old = oldTable(migration);
  const { plan } = migration;
  return [
    `alter table ${plan.names.source} rename to ${ident(passing)}`,
    `alter table ${ident(source.schema, passing)} set schema ${ident(old.schema)}`,
    `alter table ${ident(old.schema, passing)} rename to ${ident(old.name)}`,
    // The overlay keeps T's own name for readers that have not heard of the new route yet.
    `alter table ${ident('foreshadow', target.name)} rename to ${ident(passing)}`,
    `alter table ${ident('foreshadow', passing)} set schema ${ident(source.schema)}`,
    `alter table ${ident(source.schema, passing)} rename to ${ident(source.name)}`,
  ];
}

function routeNames(migration: Migration): string[] {
  const { source, target, mappedKeyIndex, wayBackPrepared } = physicalOf(migration);
  const { plan } = migration;
  return [
    `drop view ${plan.names.overlay}`,
    // S stays where it is, and nobody but the way back looks up mapped keys in it any more.
    ...(mappedKeyIndex && !wayBackPrepared
      ? [`drop index if exists ${ident(source.schema, mappedKeyIndex)}`]
      : []),
    `alter table ${plan.names.target} set schema ${ident(target.schema)}`,
    ...movedSql(migration, plan.names.source, plan.names.overlay),
  ];
}

const movedFunction = (migration: Migration) => ident('foreshadow', `moved_${migration.id}`);

/**
 * Whoever still writes to a table that kept its name would lose that write: it is refused, and a retry asks for the route
 * anew. The lanes of the way back, which keep the table in step, say who they are.
 */
export function movedSql(migration: Migration, from: string, to: string): string[] {
  const moved = movedFunction(migration);
  return [
    `create function ${moved}() returns trigger language plpgsql as $moved$ begin
       if pg_catalog.current_setting('foreshadow.lane', true) operator(pg_catalog.=) 'on' then return null; end if;
       raise exception ${literal(`foreshadow: writes to ${from} have moved to ${to}`).replaceAll('%', '%%')}
         using errcode = 'serialization_failure', hint = 'Ask foreshadow.route() again and retry.';
     end $moved$`,
    `create trigger foreshadow_moved before insert or update or delete or truncate on ${from}
       for each statement execute function ${moved}()`,
    `alter table ${from} enable always trigger foreshadow_moved`,
  ];
}

export const dropMovedSql = (migration: Migration, table: string): string[] => [
  `drop trigger if exists foreshadow_moved on ${table}`,
  `drop function if exists ${movedFunction(migration)}()`,
];

/** What is left to do afterwards, without these locks. */
export const settleLaterSql = ({ id }: Migration, { settle }: HandoverPlan): string =>
  `update foreshadow.migration_status
      set physical = jsonb_set(physical, '{settle}', ${literal(JSON.stringify(settle))}::jsonb) where id = ${id}`;

/**
 * A statement in REPEATABLE READ that queued for S before the swap goes on, on the new table, with a snapshot that does
 * not see the swap: it would change 0 rows without an error. The guard raises 40001, which such applications retry. One
 * that has set a savepoint could go back to it instead and read old rows: its session is ended. Whether it has is told by
 * the transaction id that a row written now would carry.
 *
 * Tables bound by foreign keys are held too, and guarded too: a writer that queues for one of them may read the new table
 * next, in its foreign key's check or in a query of its own.
 */
export function guardSql(migration: Migration, tables: readonly string[]): string[] {
  const probe = guardProbe(migration);
  return [
    `create table ${probe} ()`,
    `create function ${probe}() returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $probe$
     declare here xid;
     begin
       insert into ${probe} default values returning xmin into here;
       return here <> pg_current_xact_id()::xid;
     end $probe$`,
    `create function ${guardFunction(migration)}() returns trigger language plpgsql as $guard$ begin
       if not pg_catalog.pg_visible_in_snapshot(pg_catalog.xid8 'SWAP_XID', pg_catalog.pg_current_snapshot()) then
         if ${probe}() then
           perform pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid());
         end if;
         raise exception 'foreshadow: the table was swapped after this snapshot was taken; retry the transaction'
           using errcode = 'serialization_failure';
       end if;
       return null;
     end $guard$`,
    ...tables.flatMap((table) => [
      `create trigger ${guardTrigger} before insert or update or delete on ${table}
         for each statement execute function ${guardFunction(migration)}()`,
      `alter table ${table} enable always trigger ${guardTrigger}`,
    ]),
  ];
}

/** The guard's function names the transaction that swaps; it is known only inside of it. */
export function withSwapXid(statements: readonly string[], xid: string): string[] {
  return statements.map((sql) => sql.replace("'SWAP_XID'", `'${BigInt(xid)}'`));
}

/** Tables that still have the guard. */
export async function guardedTables(db: Pool, migration: Migration): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(
    'select tgrelid::regclass::text as name from pg_trigger where tgfoid = to_regproc($1) order by tgrelid',
    [guardFunction(migration)],
  );
  return rows.map(({ name }) => name);
}

export const dropGuardTriggerSql = (table: string) => `drop trigger if exists ${guardTrigger} on ${table}`;

/** When no table has it any more. */
export function dropGuardSql(migration: Migration): string[] {
  return [
    `drop function if exists ${guardFunction(migration)}()`,
    `drop function if exists ${guardProbe(migration)}()`,
    `drop table if exists ${guardProbe(migration)}`,
  ];
}
