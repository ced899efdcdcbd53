import type { Pool } from 'pg';
import type { Clock } from '../core/clock.ts';
import { ForeshadowError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import { codeOf, isRetryable, sqlstate } from '../db/sqlstate.ts';
import { transaction, withClient } from '../db/tx.ts';
import { rowMapAsRow } from '../sync/fragments.ts';
import { setLaneMode } from '../sync/lane.queries.ts';
import { dropMigrationTablesSql } from '../sync/tables.ts';
import { sayBlockers } from './cutover/blockers.queries.ts';
import { instantNow, OlderSnapshots } from './cutover/older-snapshots.ts';
import { dropGuardSql, dropGuardTriggerSql, finalTable, guardedTables, physicalOf } from './cutover/swap.ts';
import { findLate, partitionIndexes, settleIndexSql } from './deferred-indexes.ts';
import { type BuildOptions, buildConcurrently } from './index-build.ts';
import { sayWhile } from './long-statement.ts';
import { partitionsOf } from './preflight/partitions.ts';
import {
  type CarriedIndex,
  type DeferredIndex,
  keepPhysical,
  type Migration,
  recordEvent,
  updateStatus,
} from './status.store.ts';
import { dropWayBackSql, prepareWayBack } from './way-back/prepare.ts';

const schema = 'foreshadow'; // where T is until the write cutover
const maxAttempts = 30;
/** A lock that is asked for in moments of 100 ms may take a minute to come by while writers keep the table busy. */
const briefAttempts = 120;

/**
 * After the copy: T's own unique indexes come back, S's indexes that T lacks are built, and T is vacuumed and analysed,
 * so that the first plans after the swap are good ones. Every step may be repeated.
 */
export async function finishTarget(
  pool: Pool,
  begun: Migration,
  options: BuildOptions & { readonly onStep: (step: string) => Promise<void> },
): Promise<void> {
  const { plan } = begun;
  const { deferred, carried } = physicalOf(begun);
  if (deferred.length || carried.some(isUnique)) await uniqueMode(pool, plan);
  for (const index of deferred) {
    await options.onStep(`building unique index ${index.name}`);
    await buildDeferred(pool, begun, index, options);
  }
  // T has its own again: what S has beside them came late
  const migration = await withLateIndexes(pool, begun);
  const physical = physicalOf(migration);
  if (physical.carried.slice(carried.length).some(isUnique)) await uniqueMode(pool, plan);
  for (const index of physical.carried) {
    await options.onStep(`building index ${index.name}`);
    await buildCarried(pool, migration, index, options);
  }
  await prepareWayBack(pool, migration, options.onStep);
  await options.onStep('vacuum and analyse of the target');
  await pool.query(`vacuum (analyze, skip_locked) ${plan.names.target}`);
  await failpoint('finish.vacuumed');
}

const isUnique = (index: CarriedIndex) => index.definition.startsWith('create unique');

/** From the first unique index on, lanes must not refresh in single statements. */
async function uniqueMode(pool: Pool, plan: TablePlan): Promise<void> {
  await transaction(pool, (client) => setLaneMode(client, plan, 'UNIQUE'));
  await failpoint('finish.unique-mode');
}

const lateIndexes = (pool: Pool, migration: Migration) =>
  withClient(pool, (client) => findLate(client, migration.plan, physicalOf(migration).carried));

/** Whether S was given an index since those of T were built; then they are to be built again, and T verified. */
export async function indexesCame(pool: Pool, migration: Migration): Promise<boolean> {
  const late = await lateIndexes(pool, migration);
  if (late.length) await updateStatus(pool, migration.id, { phase: 'index' }, 'IN_PROGRESS');
  return late.length > 0;
}

/** Indexes that S was given since the migration began are carried too; abort must know of them before they are there. */
async function withLateIndexes(pool: Pool, migration: Migration): Promise<Migration> {
  const late = await lateIndexes(pool, migration);
  if (!late.length) return migration;
  const known = physicalOf(migration);
  const carried = [...known.carried, ...late];
  await keepPhysical(pool, migration, { carried });
  return { ...migration, physical: { ...known, carried } };
}

/**
 * After the write cutover, or a rollback, when every snapshot from before it is gone: the guard is dropped, and checks and
 * foreign keys that the swap added without looking are validated. May be repeated.
 * @param onWait says whether to go on waiting
 * @returns whether everything is done
 */
export async function settleTarget(
  pool: Pool,
  migration: Migration,
  clock: Clock,
  onWait: (reason: string) => Promise<boolean>,
): Promise<boolean> {
  const rolledBack = migration.status === 'ROLLED_BACK';
  const final = rolledBack ? physicalOf(migration).source : finalTable(migration);
  const table = ident(final.schema, final.name);
  // Taken after the commit is known: whoever starts later sees the swap.
  const instant = await withClient(pool, instantNow);
  // Of nobody is it known here that something else would answer him, so those that queue count too.
  const snapshots = new OlderSnapshots([], instant);
  for (;;) {
    const { left: old } = await withClient(pool, (client) => snapshots.look(client));
    if (!old.length) break;
    const reason = `the swap is done; waiting for snapshots from before it, to drop the guard: ${sayBlockers(old)}`;
    if (!(await onWait(reason))) return false;
    await clock.sleep(200);
  }
  await failpoint('settle.snapshots-gone');
  for (const guarded of await guardedTables(pool, migration))
    await briefly(pool, clock, dropGuardTriggerSql(guarded));
  await briefly(pool, clock, dropGuardSql(migration).join('; '));
  await failpoint('settle.guard-dropped');
  if (rolledBack) {
    for (const sql of physicalOf(migration).settle ?? [])
      await announced(pool, migration.id, clock, sql, onWait);
    await briefly(pool, clock, clearedSql(migration).join('; '));
    await failpoint('settle.names-gone');
    return true;
  }
  const { rows } = await pool.query<{ name: string }>(
    // one that the old table had never validated may well be broken by its rows
    `select conname as name from pg_constraint c where conrelid = $1 and contype = 'c' and not convalidated
        and not exists (select from pg_constraint o where o.conrelid = $2 and o.conname = c.conname and o.contype = 'c' and not o.convalidated)`,
    [migration.plan.targetOid, migration.plan.sourceOid],
  );
  const checks = rows.map(({ name }) => `alter table ${table} validate constraint ${ident(name)}`);
  for (const sql of [...checks, ...(physicalOf(migration).settle ?? [])])
    await announced(pool, migration.id, clock, sql, onWait);
  return true;
}

/** A statement that reads a whole table, and keeps its snapshot all the while: that is said before, and while it goes on. */
async function announced(
  pool: Pool,
  migrationId: number,
  clock: Clock,
  sql: string,
  onWait: (reason: string) => Promise<boolean>,
): Promise<void> {
  const message = `the swap is done; ${sql}: its snapshot is as old as the statement`;
  await recordEvent(pool, migrationId, 'settle', { message, statement: sql, done: false });
  const began = clock.now();
  const tenths = () => Math.round((clock.now() - began) * 10) / 10;
  // These block no reader or writer while they wait, and long enough a wait ends an autovacuum.
  await sayWhile(briefly(pool, clock, sql, '3s'), clock, () =>
    onWait(`the swap is done; ${sql}, for ${tenths()} s`),
  );
  const seconds = tenths();
  await recordEvent(pool, migrationId, 'settle', {
    message: `done in ${seconds} s: ${sql}`,
    statement: sql,
    done: true,
    seconds,
  });
}

/** After a rollback nothing of ours is left beside the status: tables, lanes, our index on the source. */
function clearedSql({ id, plan, physical }: Migration): string[] {
  const index = physical?.mappedKeyIndex;
  return [
    `delete from foreshadow.lane where migration_id = ${id}`,
    ...(physical?.wayBack ? dropWayBackSql(physical.wayBack.plan) : []),
    ...dropMigrationTablesSql(plan),
    ...(index ? [`drop index if exists ${ident(physical.source.schema, index)}`] : []),
  ];
}

/** CREATE INDEX CONCURRENTLY, repeated when rows on the move collided, stopped when the data itself does. */
async function buildIndex(
  pool: Pool,
  migration: Migration,
  name: string,
  definition: string,
  options: BuildOptions,
  where: string = schema,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const found = await pool.query<{ valid: boolean }>(
      'select x.indisvalid as valid from pg_index x where x.indexrelid = to_regclass($1)',
      [ident(where, name)],
    );
    if (found.rows[0]?.valid) return;
    if (found.rows[0]) await pool.query(`drop index concurrently ${ident(where, name)}`);
    try {
      await buildConcurrently(pool, migration.id, name, definition, options);
      await failpoint('finish.index-built');
      return;
    } catch (error) {
      if (codeOf(error) === sqlstate.uniqueViolation)
        await requireUnique(pool, migration, name, definition, error);
      else if (!isRetryable(error)) throw error;
      if (attempt >= maxAttempts) throw error;
      await options.clock.sleep(100 * attempt);
    }
  }
}

/** On a partitioned T an index cannot be built concurrently: it is on each partition, and T's own is put together of them. */
async function buildCarried(
  pool: Pool,
  migration: Migration,
  index: CarriedIndex,
  options: BuildOptions,
): Promise<void> {
  const { plan } = migration;
  const partitions = await partitionsOf(pool, plan.targetOid);
  if (!partitions.length) return buildIndex(pool, migration, index.temporaryName, index.definition, options);
  const parts = partitionIndexes(index, plan.names.target, partitions);
  for (const part of parts.each)
    await buildIndex(pool, migration, part.name, part.definition, options, part.schema);
  const whole = await pool.query('select from pg_index where indexrelid = to_regclass($1)', [
    ident(schema, index.temporaryName),
  ]);
  if (!whole.rowCount) await briefly(pool, options.clock, parts.whole.join('; '));
}

async function buildDeferred(
  pool: Pool,
  migration: Migration,
  index: DeferredIndex,
  options: BuildOptions,
): Promise<void> {
  const { plan } = migration;
  const present = await pool.query('select 1 from pg_constraint where conrelid = $1 and conname = $2', [
    plan.targetOid,
    index.constraint?.name ?? '',
  ]);
  if (present.rowCount) return;
  const definition = `create unique index concurrently ${ident(index.name)} on ${plan.names.target} ${index.body}`;
  await buildIndex(pool, migration, index.name, definition, options);
  const statements = settleIndexSql(index, { schema, name: physicalOf(migration).target.name });
  if (statements.length) await briefly(pool, options.clock, statements.join('; '));
  await failpoint('finish.index-settled');
}

/** DDL on T, which overlay readers use: with a short lock_timeout, repeated, so that nobody queues behind it for long. */
async function briefly(pool: Pool, clock: Clock, sql: string, lockTimeout = '100ms'): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await transaction(pool, async (client) => {
        await client.query(
          `set local lock_timeout = '${lockTimeout}'; set local idle_in_transaction_session_timeout = '1s'`,
        );
        await client.query(sql);
        await failpoint('finish.ddl-done');
      });
      return;
    } catch (error) {
      if (!isRetryable(error) || attempt >= briefAttempts) throw error;
      await clock.sleep(Math.min(500, 20 * attempt));
    }
  }
}

/** Did f(S) itself break the index, or was it only rows on the move? @throws ForeshadowError UNIQUE_VIOLATED */
async function requireUnique(
  pool: Pool,
  migration: Migration,
  name: string,
  definition: string,
  cause: unknown,
): Promise<void> {
  const { plan } = migration;
  const columns = /\(([^()]+)\)/.exec(definition.slice(definition.lastIndexOf(' USING ')))?.[1];
  const plain = columns
    ?.split(', ')
    .every((column) => plan.columns.some((c) => c.name === column || ident(c.name) === column));
  if (!columns || !plain || / where /i.test(definition)) return; // an expression or partial index: only trying again can tell
  const key = plan.targetKey.map((column) => `f.${ident(column.name)}::text`).join(` || ',' || `);
  const notNull = columns
    .split(', ')
    .map((column) => `f.${column} is not null`)
    .join(' and ');
  const { rows } = await pool.query<{ keys: string[] }>(
    `select (array_agg(${key}))[1:10] as keys from (select ${rowMapAsRow(plan)} from ${plan.names.source} s) f
      where ${notNull} group by ${columns
        .split(', ')
        .map((column) => `f.${column}`)
        .join(', ')} having count(*) > 1 limit 5`,
  );
  if (!rows.length) return;
  const list = rows.map((row) => `{${row.keys.join(' | ')}}`).join(', ');
  throw new ForeshadowError(
    'UNIQUE_VIOLATED',
    `rows of the source break the target's unique index ${name}: ${list}`,
    { index: name, keys: rows.map((row) => row.keys) },
    { cause },
  );
}
