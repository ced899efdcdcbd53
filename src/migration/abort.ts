import type { ClientBase, Pool } from 'pg';
import type { Clock } from '../core/clock.ts';
import { ForeshadowError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import { ident } from '../db/ident.ts';
import { isRetryable } from '../db/sqlstate.ts';
import { transaction } from '../db/tx.ts';
import { dropCaptureFunctionsSql, dropCaptureSql } from '../sync/capture.ts';
import { dropMigrationTablesSql } from '../sync/tables.ts';
import { mappedKeyIndexName } from './begin.ts';
import { leftOnPartitions, restoreIndexSql } from './deferred-indexes.ts';
import { mayAbort } from './states.ts';
import { getMigration, type Migration, moveStatus, recordEvent, routeTo } from './status.store.ts';
import { oldPlace, stands } from './way-back/finalize.ts';
import { dropWayBackSql } from './way-back/prepare.ts';

const maxAttempts = 60;

/**
 * Before the write cutover the source is all there is to keep: capture, overlay and our tables go, T goes back to its
 * name, empty, with its indexes. The catalogue is then as it was before the migration began.
 * @param grace seconds for readers of the overlay to hear of the route back to the source
 */
export async function abort(
  pool: Pool,
  name: string,
  options: { clock: Clock; grace: number },
): Promise<Migration> {
  const migration = requireAbortable(await getMigration(pool, name));
  if (migration.read_from !== 'source') {
    await transaction(pool, (client) => routeTo(client, migration.id, 'source', 'source'));
    await failpoint('abort.routed');
    await options.clock.sleep(options.grace * 1000);
  }
  return repeatedly(pool, options.clock, async (client) => takeDown(client, await held(client, name)));
}

/** One transaction that waits for no lock for long, so that nobody queues behind it; again and again, with pauses. */
async function repeatedly<T>(pool: Pool, clock: Clock, work: (client: ClientBase) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction(pool, async (client) => {
        await client.query("set local lock_timeout = '100ms'");
        return work(client);
      });
    } catch (error) {
      if (!isRetryable(error) || attempt >= maxAttempts) throw error;
      await clock.sleep(Math.min(1000, 20 * attempt));
    }
  }
}

function requireAbortable(migration: Migration): Migration {
  if (mayAbort(migration.status)) return migration;
  throw new ForeshadowError(
    'CONFLICT',
    `migration ${migration.name} is ${migration.status}; it cannot be aborted any more`,
  );
}

/** The status row as it is now, and as it stays: a runner that is still at work may have moved it since. */
async function held(client: ClientBase, name: string): Promise<Migration> {
  await client.query('select 1 from foreshadow.migration_status where name = $1 for update', [name]);
  return requireAbortable(await getMigration(client, name));
}

async function takeDown(client: ClientBase, migration: Migration): Promise<Migration> {
  const { plan, physical } = migration;
  const started = performance.now();
  // A process that is stopped while it holds readers and writers loses its session, and the application goes on.
  await client.query(
    "set local lock_timeout = '100ms'; set local idle_in_transaction_session_timeout = '1s'",
  );
  // Moving first: a runner that is still at work finds the state gone, and its lanes find no row.
  const moved = await moveStatus(client, migration, migration.status, 'ABORTED', {
    phase: 'none',
    wait_reason: null,
  });
  await failpoint('abort.status-moved');
  await client.query('delete from foreshadow.lane where migration_id = $1', [migration.id]);
  const index = mappedKeyIndexName(plan);
  if (physical) {
    await client.query(`lock table ${plan.names.overlay} in access exclusive mode`);
    for (const sql of dropCaptureSql(plan)) await client.query(sql);
    await client.query(`drop view ${plan.names.overlay}`);
    for (const sql of [
      ...dropCaptureFunctionsSql(plan),
      ...dropMigrationTablesSql(plan),
      ...(plan.wayBack ? dropWayBackSql(plan.wayBack) : []),
    ])
      await client.query(sql);
    await client.query(`truncate ${plan.names.target}`);
    await client.query(`alter table ${plan.names.target} set schema ${ident(physical.target.schema)}`);
    for (const carried of physical.carried) {
      await client.query(`drop index if exists ${ident(physical.target.schema, carried.temporaryName)}`);
    }
    // Of a partitioned T, those that were built for partitions and not yet put together.
    for (const sql of await leftOnPartitions(client, plan, physical.carried)) await client.query(sql);
    for (const deferred of physical.deferred) {
      // A build that was under way may have left the index, valid or not.
      if (deferred.constraint) {
        await client.query(
          `alter table ${plan.names.overlay} drop constraint if exists ${ident(deferred.constraint.name)}`,
        );
      }
      await client.query(`drop index if exists ${ident(physical.target.schema, deferred.name)}`);
      for (const sql of restoreIndexSql(deferred, physical.target)) await client.query(sql);
    }
  }
  if (index) {
    const source = physical?.source.schema ?? plan.names.source.split('.')[0];
    await client.query(
      `drop index if exists ${physical ? ident(physical.source.schema, index) : `${source}.${ident(index)}`}`,
    );
  }
  await failpoint('abort.taken-down');
  await recordEvent(client, migration.id, 'lock', {
    kind: 'abort',
    wait_ms: 0,
    hold_ms: Math.round(performance.now() - started),
    attempts: 1,
  });
  return moved;
}

const isMoved = ({ status }: Migration) => status === 'COMPLETED' || status === 'FINALIZED';

/**
 * Removes everything of ours from the database: running migrations are aborted, then the schema goes.
 * @throws ForeshadowError CONFLICT when old tables of completed migrations are still kept, unless `dropOldTables`
 */
export async function uninstall(
  pool: Pool,
  options: { clock: Clock; grace: number; dropOldTables: boolean },
): Promise<{ aborted: string[]; dropped: string[] }> {
  const ours = ['foreshadow', 'foreshadow_jobs'];
  const present = await pool.query<{ name: string }>(
    'select nspname as name from pg_namespace where nspname = any ($1) order by nspname',
    [ours],
  );
  if (!present.rows.length) return { aborted: [], dropped: [] };
  const { rows } = await pool.query<Migration>('select * from foreshadow.migration_status order by id');
  const old: string[] = [];
  for (const migration of rows) {
    if (!isMoved(migration) || migration.definition.cutover.finish !== 'swap') continue;
    const { schema, name } = oldPlace(migration);
    if (await stands(pool, migration, { schema, name })) old.push(`${schema}.${name}`);
  }
  if (old.length && !options.dropOldTables) {
    const tables = old.join(', ');
    throw new ForeshadowError(
      'CONFLICT',
      `old tables are still kept: ${tables}; move them, or uninstall with --drop-old-tables`,
    );
  }
  const aborted: string[] = [];
  for (const migration of rows.filter((each) => mayAbort(each.status))) {
    await abort(pool, migration.name, options);
    aborted.push(migration.name);
  }
  await repeatedly(pool, options.clock, async (client) => {
    await client.query("set local idle_in_transaction_session_timeout = '1s'");
    await client.query('lock table foreshadow.migration_status in exclusive mode');
    const now = await client.query<Migration>('select * from foreshadow.migration_status');
    const begun = now.rows.filter(({ status }) => mayAbort(status)).map(({ name }) => name);
    if (begun.length)
      throw new ForeshadowError('CONFLICT', `began meanwhile: ${begun.join(', ')}; run uninstall again`);
    // one that stays where it was made while a migration can be rolled back; others are gone by now
    for (const { physical } of rows)
      if (physical?.mappedKeyIndex)
        await client.query(`drop index if exists ${ident(physical.source.schema, physical.mappedKeyIndex)}`);
    for (const name of ours) await client.query(`drop schema if exists ${name} cascade`);
  });
  return { aborted, dropped: present.rows.map(({ name }) => `schema ${name}`) };
}
