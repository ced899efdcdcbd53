import type { ClientBase, Pool } from 'pg';
import type { Clock } from '../core/clock.ts';
import { ForeshadowError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { TablePlan } from '../core/plan.ts';
import { readTable } from '../db/catalog.ts';
import { ident, parseQualifiedName } from '../db/ident.ts';
import { codeOf, isRetryable, sqlstate } from '../db/sqlstate.ts';
import { withClient } from '../db/tx.ts';
import { overlaySql } from '../shadow/overlay.ts';
import { captureFunctionsSql, captureTriggersSql } from '../sync/capture.ts';
import { stampSql } from '../sync/lane.queries.ts';
import { migrationTablesSql, vacuumKeyLogSql } from '../sync/tables.ts';
import { lockHolders, sayBlockers } from './cutover/blockers.queries.ts';
import { hasRowSecurity } from './cutover/row-security.queries.ts';
import { deferIndexSql, findCarried, findDeferred } from './deferred-indexes.ts';
import { type BuildOptions, buildConcurrently } from './index-build.ts';
import { lanesFor } from './key-map.ts';
import { createRanges } from './ranges.ts';
import { databaseNow, type Migration, moveStatus, type Physical, recordEvent } from './status.store.ts';

/** 100 ms: longer, and every reader queues behind our request for the lock. */
const lockTimeout = 100;
const idleTimeout = 1000;
const maxAttempts = 60;

/** Name of our index on S over the mapped key; null when the mapped key is the bare key and S's own index serves. */
export function mappedKeyIndexName(plan: TablePlan): string | null {
  const columns = plan.sourceKey.map((column) => ident(column.name));
  const bare = plan.targetKey.every((column) => columns.includes(column.ofColumns));
  return bare ? null : `foreshadow_${plan.migrationId}_mapped_key`;
}

/**
 * Lookups by the target's key reach S through the overlay as lookups of the mapped expression: without an index on it
 * each would scan S. Built concurrently, before anything else, and dropped by abort.
 */
export async function buildMappedKeyIndex(pool: Pool, plan: TablePlan, options: BuildOptions): Promise<void> {
  const name = mappedKeyIndexName(plan);
  if (!name) return;
  const { schema } = parseQualifiedName(plan.names.source);
  await withClient(pool, async (client) => {
    const found = await client.query<{ valid: boolean }>(
      'select x.indisvalid as valid from pg_index x where x.indexrelid = to_regclass($1)',
      [ident(schema, name)],
    );
    if (found.rows[0]?.valid) return;
    if (found.rows[0]) await client.query(`drop index concurrently ${ident(schema, name)}`);
    const columns = plan.targetKey.map((column) => `(${column.ofColumns})`).join(', ');
    const definition = `create index concurrently ${ident(name)} on ${plan.names.source} (${columns})`;
    await buildConcurrently(pool, plan.migrationId, name, definition, options);
    // Statistics of the expression: without them a lookup counts as half a per cent of the table, and scans it.
    await client.query(`analyze ${plan.names.source}`);
  });
}

/**
 * PLANNED → SHADOWING, in one transaction: T moves into our schema and the overlay takes its name, our tables, ranges
 * and lanes are made, and last, for as short as can be, capture is installed on S. From its commit on every change of
 * S and its log row become visible together.
 */
export async function beginShadowing(
  pool: Pool,
  migration: Migration,
  options: { lanes: number; clock: Clock; onWait: (reason: string) => void | Promise<void> },
): Promise<Migration> {
  const { plan } = migration;
  const { clock, onWait } = options;
  await buildMappedKeyIndex(pool, plan, { clock, onWait: async (reason) => onWait(reason) });
  await failpoint('begin.index-built');
  let waited = 0;
  for (let attempt = 1; ; attempt++) {
    const started = performance.now();
    try {
      const begun = await withClient(pool, (client) =>
        install(client, migration, lanesFor(plan, options.lanes), { attempt, waited }),
      );
      // of the rows that it was born with; what is left to autovacuum if this fails
      await pool.query(vacuumKeyLogSql(plan)).catch(() => undefined);
      return begun;
    } catch (error) {
      if (codeOf(error) === sqlstate.duplicateTable) {
        throw new ForeshadowError(
          'CONFLICT',
          `our schema already holds a table of this name: ${(error as Error).message}`,
        );
      }
      if (!isRetryable(error) || attempt >= maxAttempts) throw error;
      waited += performance.now() - started;
      const holders = await withClient(pool, (client) => lockHolders(client, [plan.sourceOid], 0));
      const whom = holders.length ? `: ${sayBlockers(holders)}` : '';
      await onWait(
        `waiting for a lock on ${plan.names.source} to install capture (attempt ${attempt})${whom}`,
      );
      await clock.sleep(Math.min(1000, 20 * attempt) * (0.5 + (attempt % 5) / 5));
    }
  }
}

async function install(
  client: ClientBase,
  migration: Migration,
  lanes: number,
  tries: { attempt: number; waited: number },
): Promise<Migration> {
  const { plan } = migration;
  const source = parseQualifiedName(plan.names.source);
  const target = parseQualifiedName(plan.names.overlay);
  await client.query('begin isolation level read committed read write');
  try {
    // A process that is stopped while it holds writers back loses its session, and the application goes on.
    await client.query(
      `set local lock_timeout = ${lockTimeout}; set local idle_in_transaction_session_timeout = ${idleTimeout}`,
    );
    const deferred = await findDeferred(
      client,
      plan,
      plan.targetKey.map((column) => column.name),
    );
    const carried = await findCarried(client, plan);
    for (const index of deferred) for (const sql of deferIndexSql(index, target)) await client.query(sql);
    await client.query(`alter table ${plan.names.overlay} set schema foreshadow`);
    for (const sql of migrationTablesSql(plan)) await client.query(sql);
    await createRanges(client, plan, lanes, Number(migration.rows_total));
    await client.query(
      `insert into foreshadow.lane (migration_id, lane, mode) select $1, i, 'SHADOWING' from generate_series(0, $2::int - 1) i`,
      [plan.migrationId, lanes],
    );
    for (const sql of captureFunctionsSql(plan)) await client.query(sql);
    await client.query(overlaySql(plan));
    await grantReaders(client, plan);
    await failpoint('begin.tables-made');
    const asked = performance.now();
    for (const sql of captureTriggersSql(plan)) await client.query(sql);
    const locked = performance.now();
    await failpoint('begin.capture-installed');
    const stamp = await client.query(`select ${stampSql(plan)}`);
    const physical: Physical = {
      source,
      target,
      stamp: stamp.rows[0],
      deferred,
      carried,
      columns: {
        source: await columnList(client, source),
        target: await columnList(client, { schema: 'foreshadow', name: target.name }),
      },
      mappedKeyIndex: mappedKeyIndexName(plan),
    };
    const overlay = await client.query<{ oid: number }>('select $1::regclass::oid::int8::float8 as oid', [
      plan.names.overlay,
    ]);
    const moved = await moveStatus(client, migration, 'PLANNED', 'SHADOWING', {
      physical,
      overlay_oid: overlay.rows[0]?.oid,
      shadowing_at: databaseNow,
      wait_reason: null,
    });
    await recordEvent(client, migration.id, 'lock', {
      kind: 'capture',
      wait_ms: round(tries.waited + locked - asked),
      hold_ms: round(performance.now() - locked),
      attempts: tries.attempt,
    });
    await failpoint('begin.before-commit');
    await client.query('commit');
    await failpoint('begin.committed');
    return moved;
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}

const round = (ms: number) => Math.round(ms * 100) / 100;

export async function columnList(
  client: ClientBase,
  table: { schema: string; name: string },
): Promise<string[]> {
  const found = await readTable(client, table.schema, table.name);
  return (found?.columns ?? []).map((column) =>
    [
      column.name,
      column.type,
      ...(column.collation === null ? [] : [`collate ${column.collation}`]),
      ...(column.notNull ? ['not null'] : []),
      ...(column.identity === '' ? [] : ['identity']),
      ...(column.generated === null ? [] : [`generated as (${column.generated})`]),
    ].join(' '),
  );
}

/**
 * Whoever may read S or T, or some columns of them, may read the overlay, which stands where T stood. Where row security
 * hides rows of either, nobody may but their owner: a view reads with its owner's rights, and would show them.
 */
async function grantReaders(client: ClientBase, plan: TablePlan): Promise<void> {
  if (await hasRowSecurity(client, plan)) return;
  const { rows } = await client.query<{ sql: string }>(
    `with readable (columns, grantee) as (
       select '', g.grantee from pg_class c, aclexplode(c.relacl) g
        where c.oid = any ($1::oid[]) and g.privilege_type = 'SELECT' and g.grantee <> c.relowner
       union
       select format(' (%I)', a.attname), g.grantee from pg_attribute a, aclexplode(a.attacl) g
        where a.attrelid = any ($1::oid[]) and g.privilege_type = 'SELECT' and a.attname::text = any ($2::text[]))
     select format('grant select%s on %s to %s', columns, $3::text,
                   case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end) as sql
       from readable`,
    [[plan.sourceOid, plan.targetOid], plan.targetOrder, plan.names.overlay],
  );
  for (const { sql } of rows) await client.query(sql);
}
