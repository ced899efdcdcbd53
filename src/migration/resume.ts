import { isDeepStrictEqual } from 'node:util';
import type { Pool } from 'pg';
import type { MigrationFile } from '../config/migration-file.ts';
import { ForeshadowError } from '../core/errors.ts';
import { readTable } from '../db/catalog.ts';
import { withClient } from '../db/tx.ts';
import { type LaneStamp, stampSql } from '../sync/lane.queries.ts';
import { columnList } from './begin.ts';
import { isOver } from './states.ts';
import { type Migration, moveStatus } from './status.store.ts';

/** What of a migration file is fixed once the migration has begun: what is moved, and how. */
const fixed = ['source', 'target', 'key', 'map', 'back', 'invariants'] as const;

/**
 * Takes a known migration up again. PAUSED and FAILED go back to the state they came from, if both tables are as they
 * were when it began.
 * @throws ForeshadowError CONFLICT when the file asks for something else, or the migration is over
 * @throws ForeshadowError SCHEMA_CHANGED saying what changed
 */
export async function resume(pool: Pool, known: Migration, file: MigrationFile): Promise<Migration> {
  const differing = fixed.filter((field) => !isDeepStrictEqual(known.definition[field], file[field]));
  if (differing.length) {
    const message = `migration ${file.name} exists with another ${differing.join(', ')}; abort it first, or use another name`;
    throw new ForeshadowError('CONFLICT', message);
  }
  if (isOver(known.status)) {
    throw new ForeshadowError(
      'CONFLICT',
      `migration ${file.name} is ${known.status}; use another name, or uninstall first`,
    );
  }
  // how it was cut over is how it is rolled back, whatever the file says by now
  if (known.status === 'COMPLETED') return known;
  const { rows } = await pool.query<Migration>(
    'update foreshadow.migration_status set definition = $2 where id = $1 returning *',
    [known.id, JSON.stringify(file)],
  );
  const migration = rows[0] as Migration;
  if (migration.status !== 'PAUSED' && migration.status !== 'FAILED') return migration;
  const stamp = await requireUnchanged(pool, migration);
  const before = migration.status_before ?? 'PLANNED';
  // what made it READY may not hold any more: the gate is asked again
  const back = before === 'READY' ? 'SHADOWING' : before;
  return moveStatus(pool, migration, migration.status, back, {
    ...(stamp ? { physical: { ...migration.physical, stamp } } : {}),
    ...(before === 'READY' ? { ready_at: null, confident_in_a_row: 0 } : {}),
    status_before: null,
    error: null,
    wait_reason: null,
  });
}

/**
 * Both tables mean to our SQL what they meant when the migration began. A change that was undone leaves its mark in the
 * catalogue (a dropped column keeps its number), so what counts is what can be seen.
 * @returns what lanes are to compare with from now on; null while there is nothing to compare
 * @throws ForeshadowError SCHEMA_CHANGED, CAPTURE_BROKEN
 */
export async function requireUnchanged(pool: Pool, migration: Migration): Promise<LaneStamp | null> {
  const { plan, physical } = migration;
  if (!physical || migration.write_to === 'target') return null;
  const { rows } = await pool.query<LaneStamp>(`select ${stampSql(plan)}`);
  const now = rows[0] as LaneStamp;
  for (const role of ['source', 'target'] as const) {
    if (now[role] === physical.stamp[role]) continue;
    const change = await sayChange(pool, migration, role);
    if (change) throw new ForeshadowError('SCHEMA_CHANGED', `${role} was altered: ${change}`, { role });
  }
  if (now.capture !== physical.stamp.capture) {
    throw new ForeshadowError(
      'CAPTURE_BROKEN',
      `the capture trigger on ${plan.names.source} was disabled, dropped or replaced`,
    );
  }
  return now;
}

/** Which columns came, went or changed, and what became of the table itself; empty when all is as it was. */
export async function sayChange(
  pool: Pool,
  migration: Migration,
  role: 'source' | 'target',
): Promise<string> {
  const { physical, plan } = migration;
  if (!physical) return 'unknown';
  const [table, oid] =
    role === 'source'
      ? [physical.source, plan.sourceOid]
      : [{ schema: 'foreshadow', name: physical.target.name }, plan.targetOid];
  return withClient(pool, async (client) => {
    const found = await readTable(client, table.schema, table.name);
    if (found?.oid !== oid) {
      const { rows } = await client.query<{ name: string }>(
        'select oid::regclass::text as name from pg_class where oid = $1',
        [oid],
      );
      const nowCalled = rows[0] ? `is now called ${rows[0].name}` : 'is gone';
      return `${table.schema}.${table.name} ${nowCalled}`;
    }
    const now = await columnList(client, table);
    const before = physical.columns[role];
    return [
      ...before.filter((column) => !now.includes(column)).map((column) => `- ${column}`),
      ...now.filter((column) => !before.includes(column)).map((column) => `+ ${column}`),
      ...(found.rowSecurity ? ['row security was enabled'] : []),
    ].join(', ');
  });
}
