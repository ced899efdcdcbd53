import type { ClientBase, Pool } from 'pg';
import type { Clock } from '../../core/clock.ts';
import { ForeshadowError } from '../../core/errors.ts';
import { failpoint } from '../../core/failpoint.ts';
import { ident } from '../../db/ident.ts';
import { codeOf, isRetryable, sqlstate } from '../../db/sqlstate.ts';
import { transaction } from '../../db/tx.ts';
import { dropCaptureSql } from '../../sync/capture.ts';
import { dropMigrationTablesSql } from '../../sync/tables.ts';
import type { TableName } from '../cutover/move.ts';
import { dropMovedSql, oldTable, physicalOf } from '../cutover/swap.ts';
import { getMigration, type Migration, moveStatus, recordEvent } from '../status.store.ts';
import { dropWayBackSql } from './prepare.ts';

const maxAttempts = 60;

export interface Finalized {
  readonly migration: Migration;
  /** the old table, if it is still there, as schema.table */
  readonly kept: string | null;
  readonly dropped: string | null;
}

/**
 * COMPLETED → FINALIZED: there is no way back from here on. What kept the old table in step goes, and the overlay; the old
 * table itself only if told to. May be repeated, so the old table can be dropped later.
 * @throws ForeshadowError CONFLICT in any other state; DEPENDENT_REFUSED when something depends on the old table
 */
export async function finalize(
  pool: Pool,
  name: string,
  options: { readonly clock: Clock; readonly dropOld: boolean },
): Promise<Finalized> {
  requireFinalizable(await getMigration(pool, name));
  await again(options.clock, () => transaction(pool, (client) => takeDown(client, name)));
  const migration = await getMigration(pool, name);
  const old = oldPlace(migration);
  const text = `${old.schema}.${old.name}`;
  if (!(await stands(pool, migration, old))) return { migration, kept: null, dropped: null };
  if (!options.dropOld) return { migration, kept: text, dropped: null };
  await again(options.clock, () => transaction(pool, (client) => dropOld(client, migration, old)));
  await failpoint('finalize.old-dropped');
  return { migration, kept: null, dropped: text };
}

function requireFinalizable({ name, status }: Migration): void {
  if (status === 'COMPLETED' || status === 'FINALIZED') return;
  throw new ForeshadowError(
    'CONFLICT',
    `migration ${name} is ${status}; only a completed one can be finalized`,
  );
}

/** Where the old table is after the write cutover. */
export function oldPlace(migration: Migration): TableName {
  return migration.definition.cutover.finish === 'swap' ? oldTable(migration) : physicalOf(migration).source;
}

/** Whether the old table is (still) there, and not another one of that name. */
export async function stands(pool: Pool, { plan }: Migration, { schema, name }: TableName): Promise<boolean> {
  const { rows } = await pool.query<{ oid: number | null }>(
    'select to_regclass($1)::oid::int8::float8 as oid',
    [ident(schema, name)],
  );
  return rows[0]?.oid === plan.sourceOid;
}

/** Repeated when somebody held a lock for longer than others should wait behind our request. */
async function again(clock: Clock, work: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isRetryable(error) || attempt >= maxAttempts) throw error;
      await clock.sleep(Math.min(1000, 20 * attempt));
    }
  }
}

/** A process that is stopped while it holds readers and writers loses its session, and the application goes on. */
const briefly = "set local lock_timeout = '100ms'; set local idle_in_transaction_session_timeout = '1s'";

async function takeDown(client: ClientBase, name: string): Promise<void> {
  await client.query(briefly);
  await client.query('select 1 from foreshadow.migration_status where name = $1 for update', [name]);
  const migration = await getMigration(client, name);
  requireFinalizable(migration);
  if (migration.status === 'FINALIZED') return;
  const started = performance.now();
  await moveStatus(client, migration, 'COMPLETED', 'FINALIZED', { wait_reason: null, error: null });
  await failpoint('finalize.status-moved');
  for (const sql of takeDownSql(migration)) await client.query(sql);
  await failpoint('finalize.taken-down');
  await recordEvent(client, migration.id, 'lock', {
    kind: 'finalize',
    wait_ms: 0,
    hold_ms: Math.round(performance.now() - started),
    attempts: 1,
  });
}

/** The overlay first: who reads it locks it before T. */
function takeDownSql(migration: Migration): string[] {
  const { plan, definition } = migration;
  const { wayBack, source, mappedKeyIndex } = physicalOf(migration);
  const route = definition.cutover.finish === 'route';
  return [
    `delete from foreshadow.lane where migration_id = ${migration.id}`,
    ...(route ? [] : [`drop view if exists ${plan.names.overlay}`]),
    ...(wayBack ? [...dropCaptureSql(wayBack.plan), ...dropWayBackSql(wayBack.plan)] : []),
    ...dropMigrationTablesSql(plan),
    ...(route && mappedKeyIndex ? [`drop index if exists ${ident(source.schema, mappedKeyIndex)}`] : []),
  ];
}

async function dropOld(client: ClientBase, migration: Migration, old: TableName): Promise<void> {
  await client.query(briefly);
  try {
    await client.query(`drop table ${ident(old.schema, old.name)}`);
  } catch (error) {
    if (codeOf(error) !== sqlstate.dependentObjects) throw error;
    throw new ForeshadowError(
      'DEPENDENT_REFUSED',
      `the old table cannot be dropped: ${(error as { detail?: string }).detail ?? (error as Error).message}`,
      { table: `${old.schema}.${old.name}` },
      { cause: error },
    );
  }
  if (migration.definition.cutover.finish !== 'route') return;
  const [, dropFunction] = dropMovedSql(migration, '');
  await client.query(dropFunction as string);
}
