import { isDeepStrictEqual } from 'node:util';
import type { Pool } from 'pg';
import type { MigrationFile } from '../config/migration-file.ts';
import { ForeshadowError } from '../core/errors.ts';
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
  const { rows } = await pool.query<Migration>(
    'update foreshadow.migration_status set definition = $2 where id = $1 returning *',
    [known.id, JSON.stringify(file)],
  );
  const migration = rows[0] as Migration;
  if (migration.status !== 'PAUSED' && migration.status !== 'FAILED') return migration;
  await requireUnchanged(pool, migration);
  const back = migration.status_before ?? 'PLANNED';
  return moveStatus(pool, migration, migration.status, back, {
    status_before: null,
    error: null,
    wait_reason: null,
  });
}

/** @throws ForeshadowError SCHEMA_CHANGED, CAPTURE_BROKEN */
export async function requireUnchanged(pool: Pool, migration: Migration): Promise<void> {
  const { plan, physical } = migration;
  if (!physical || migration.write_to === 'target') return;
  const { rows } = await pool.query<LaneStamp>(`select ${stampSql(plan)}`);
  const now = rows[0] as LaneStamp;
  for (const role of ['source', 'target'] as const) {
    if (now[role] === physical.stamp[role]) continue;
    throw new ForeshadowError(
      'SCHEMA_CHANGED',
      `${role} was altered: ${(await sayChange(pool, migration, role)) || 'its name, schema or row security'}`,
      { role },
    );
  }
  if (now.capture !== physical.stamp.capture) {
    throw new ForeshadowError(
      'CAPTURE_BROKEN',
      `the capture trigger on ${plan.names.source} was disabled, dropped or replaced`,
    );
  }
}

/** Which columns came, went or changed; empty when none did. */
export async function sayChange(
  pool: Pool,
  migration: Migration,
  role: 'source' | 'target',
): Promise<string> {
  const { physical } = migration;
  if (!physical) return 'unknown';
  const table = role === 'source' ? physical.source : { schema: 'foreshadow', name: physical.target.name };
  const now = await withClient(pool, (client) => columnList(client, table));
  const before = physical.columns[role];
  const came = now.filter((column) => !before.includes(column)).map((column) => `+ ${column}`);
  const went = before.filter((column) => !now.includes(column)).map((column) => `- ${column}`);
  if (!now.length) return `${table.schema}.${table.name} is gone`;
  return [...went, ...came].join(', ');
}
