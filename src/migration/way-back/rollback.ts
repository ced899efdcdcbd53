import type { Client, ClientBase, Pool } from 'pg';
import { ForeshadowError } from '../../core/errors.ts';
import { ident } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import { together } from '../../db/tx.ts';
import { dropCaptureFunctionsSql, dropCaptureSql } from '../../sync/capture.ts';
import { type LaneStamp, stampSql } from '../../sync/lane.queries.ts';
import { Blocked, type Exchange, requireSame } from '../cutover/exchange.ts';
import type { HandoverPlan } from '../cutover/handovers.ts';
import { turned } from '../cutover/move.ts';
import { makeRoomSql } from '../cutover/names.ts';
import type { Script } from '../cutover/script.ts';
import {
  dropMovedSql,
  finalTable,
  guardSql,
  movedSql,
  moveOf,
  oldTable,
  physicalOf,
  settleLaterSql,
} from '../cutover/swap.ts';
import type { Migration } from '../status.store.ts';
import { requireWayBack } from './state.ts';

/**
 * COMPLETED → ROLLED_BACK: S takes its place again, with every change that T has seen, and T goes back to its own name,
 * filled as it is.
 * @throws ForeshadowError NO_WAY_BACK, CONFLICT
 */
export async function rollbackExchange(pool: Pool, migration: Migration): Promise<Exchange> {
  const plan = requireWayBack(migration);
  const { names } = plan;
  const tables = [lock(names.source), lock(names.target)] as const;
  const swapped = migration.definition.cutover.finish === 'swap';
  const overlay = swapped && (await overlayStands(pool, migration));
  return {
    kind: 'rollback',
    migration,
    plan,
    from: 'COMPLETED',
    to: 'ROLLED_BACK',
    columns: { wait_reason: null, error: null, settled_at: null },
    route: 'source',
    // since then the lanes of the way back have kept it in step
    complete: { at: migration.writes_cut_over_at as Date, event: 'the write cutover' },
    // who still reads the overlay under T's own name locks it first, then T, then S
    readers: overlay ? names.overlay : `${names.source}, ${names.target}`,
    inTurn: overlay ? [`alter view ${names.overlay} reset (security_barrier)`, ...tables] : tables,
    requireReady: (client) => requireOpen(client, migration),
    move: turned(moveOf(migration), finalTable(migration), physicalOf(migration).source),
    // the old table is as readable as it was
    keeps: ({ catalog }) => catalog === 'pg_policy',
    script: (client, handover) =>
      swapped ? swapBackScript(client, migration, handover) : routeBackScript(migration, handover),
  };
}

const lock = (table: string) => `lock table ${table} in access exclusive mode`;

/** @throws ForeshadowError CONFLICT when T's own name was given to something else meanwhile */
async function overlayStands(pool: Pool, { plan, overlay_oid: known }: Migration): Promise<boolean> {
  const { rows } = await pool.query<{ oid: number | null }>(
    'select to_regclass($1)::oid::int8::float8 as oid',
    [plan.names.overlay],
  );
  const oid = rows[0]?.oid ?? null;
  if (oid !== null && oid !== Number(known))
    throw new ForeshadowError(
      'CONFLICT',
      `the target cannot go back to its name: ${plan.names.overlay} is something else now; rename that first`,
    );
  return oid !== null;
}

/** What the lanes compare too. */
async function requireOpen(client: Client, migration: Migration): Promise<void> {
  const plan = requireWayBack(migration);
  const { rows } = await client.query<LaneStamp & { invalid: string[] }>(
    prepared(`select ${stampSql(plan)},
            array(select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid
                   where x.indrelid = ${plan.targetOid} and not x.indisvalid) as invalid`),
  );
  const now = rows[0] as (typeof rows)[0];
  const stamp = physicalOf(migration).wayBack?.stamp as LaneStamp;
  requireSame(now, stamp, plan);
  if (now.invalid.length) throw new Blocked(`indexes of the source are not valid: ${now.invalid.join(', ')}`);
}

/** The old table has kept what is its own; what only one of the two can have comes back to it. */
async function swapBackScript(
  client: ClientBase,
  migration: Migration,
  handover: HandoverPlan,
): Promise<Script> {
  const { source, target, wayBack } = physicalOf(migration);
  const plan = requireWayBack(migration);
  const old = oldTable(migration);
  const passing = `foreshadow_passing_${migration.id}`;
  const coming = wayBack?.relations ?? [];
  const [room, now] = await together(client, [
    () =>
      makeRoomSql(
        client,
        { oid: plan.sourceOid, schema: source.schema },
        target,
        coming,
        target.schema === source.schema,
      ),
    () =>
      namesNow(
        client,
        coming.map(({ oid }) => oid),
      ),
  ]);
  return ({ sequences }) => [
    ...dropCaptureSql(plan),
    ...dropCaptureFunctionsSql(plan),
    `drop view if exists ${plan.names.overlay}`,
    ...handover.before,
    ...sequences.before,
    ...room,
    `alter table ${ident(source.schema, source.name)} rename to ${ident(passing)}`,
    `alter table ${ident(source.schema, passing)} set schema ${ident(target.schema)}`,
    `alter table ${ident(target.schema, passing)} rename to ${ident(target.name)}`,
    `alter table ${ident(old.schema, old.name)} rename to ${ident(passing)}`,
    `alter table ${ident(old.schema, passing)} set schema ${ident(source.schema)}`,
    `alter table ${ident(source.schema, passing)} rename to ${ident(source.name)}`,
    // by the names that they have now
    ...sequences.after,
    ...coming
      .filter(({ oid, name }) => now.has(oid) && now.get(oid) !== name)
      .map(
        ({ oid, kind, name }) =>
          `alter ${kind} ${ident(source.schema, now.get(oid) as string)} rename to ${ident(name)}`,
      ),
    ...handover.after,
    ...guardSql(migration, [ident(source.schema, source.name), ...namesOf(handover)]),
    settleLaterSql(migration, handover),
  ];
}

/** Both tables have kept their names: late writers are refused on the other side now. */
async function routeBackScript(migration: Migration, handover: HandoverPlan): Promise<Script> {
  const plan = requireWayBack(migration);
  return ({ sequences }) => [
    ...dropCaptureSql(plan),
    ...dropCaptureFunctionsSql(plan),
    ...handover.before,
    ...sequences.before,
    ...sequences.after,
    ...handover.after,
    ...dropMovedSql(migration, plan.names.target),
    ...movedSql(migration, plan.names.source, plan.names.target),
    ...guardSql(migration, [plan.names.target, ...namesOf(handover)]),
    settleLaterSql(migration, handover),
  ];
}

const namesOf = ({ relatives }: HandoverPlan) => relatives.map(({ name }) => name);

async function namesNow(client: ClientBase, oids: readonly number[]): Promise<Map<number, string>> {
  const { rows } = await client.query<{ oid: number; name: string }>(
    prepared('select oid::int8::float8 as oid, relname as name from pg_class where oid = any ($1::oid[])', [
      oids,
    ]),
  );
  return new Map(rows.map(({ oid, name }) => [oid, name]));
}
