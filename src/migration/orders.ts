import type { Pool } from 'pg';
import { ForeshadowError } from '../core/errors.ts';
import type { Gate } from './gate.ts';
import { resume } from './resume.ts';
import { mayAbort, mayFollow } from './states.ts';
import { getMigration, type Migration, moveStatus, type Order, recordEvent } from './status.store.ts';
import { requireWayBack } from './way-back/state.ts';

export type { Order } from './status.store.ts';

/** Told when a job was sent; with {@link changed} when the state asks for other jobs than before. */
export const jobsChannel = 'foreshadow_jobs';
export const changed = 'changed';

/**
 * Writes down what an operator asks for; whoever works on the migration does it. May be repeated: the first is the one
 * that counts, with the details of the last.
 * @throws ForeshadowError MIGRATION_UNKNOWN; GATE_SHUT or CONFLICT when the state does not allow it
 */
export async function giveOrder(
  pool: Pool,
  name: string,
  order: Order,
  by: string,
  detail: Readonly<Record<string, unknown>> = {},
): Promise<Migration> {
  for (;;) {
    const migration = await getMigration(pool, name);
    requirePossible(migration, order);
    if (order !== 'abort' && !migration.managed)
      throw new ForeshadowError(
        'CONFLICT',
        `migration ${name} is not in the hands of the job runner: use "foreshadow ${order.split('-')[0]}", or hand it over with "foreshadow start"`,
      );
    // in the state that was looked at, else it is looked at anew
    const { rowCount } = await pool.query(
      `update foreshadow.migration_status
          set orders = orders || jsonb_build_object($2::text,
                jsonb_build_object('by', $3::text, 'at', clock_timestamp()) || coalesce(orders -> $2::text, '{}') || $4::jsonb),
              updated_at = clock_timestamp()
        where id = $1 and status = $5 and phase is not distinct from $6`,
      [migration.id, order, by, JSON.stringify(detail), migration.status, migration.phase],
    );
    if (!rowCount) continue;
    await recordEvent(pool, migration.id, 'order', { order, by, ...detail });
    return getMigration(pool, name);
  }
}

function requirePossible(migration: Migration & { gate?: unknown }, order: Order): void {
  const { name, status, phase, gate } = migration;
  if (order === 'rollback') return void requireWayBack(migration);
  if (order === 'finalize') {
    if (status === 'COMPLETED') return;
    throw new ForeshadowError(
      'CONFLICT',
      `migration ${name} is ${status}; only a completed one can be finalized`,
    );
  }
  if (order === 'abort') {
    if (mayAbort(status)) return;
    throw new ForeshadowError('CONFLICT', `migration ${name} is ${status}; it cannot be aborted any more`);
  }
  if (order === 'cutover-reads') {
    if (status === 'READY') return;
    const reasons = (gate as Gate).reasons.join('; ') || 'nothing holds the gate';
    throw new ForeshadowError('GATE_SHUT', `migration ${name} is ${status}, not READY: ${reasons}`);
  }
  if (status === 'IN_PROGRESS' && phase === 'ready') return;
  throw new ForeshadowError(
    'GATE_SHUT',
    `migration ${name} is ${status}, phase ${phase}; it must be copied and verified first`,
  );
}

/** The order is done. */
export async function fulfilOrder(pool: Pool, id: number, order: Order): Promise<void> {
  await pool.query('update foreshadow.migration_status set orders = orders - $2::text where id = $1', [
    id,
    order,
  ]);
}

/**
 * Stops all work on a migration at the next safe point. The overlay stays exact and capture goes on.
 * @throws ForeshadowError CONFLICT when there is nothing to pause
 */
export async function pauseMigration(pool: Pool, name: string, by: string): Promise<Migration> {
  const migration = await getMigration(pool, name);
  if (migration.status === 'PAUSED') return migration;
  if (!mayFollow(migration.status, 'PAUSED'))
    throw new ForeshadowError(
      'CONFLICT',
      `migration ${name} is ${migration.status}; there is nothing to pause`,
    );
  const paused = await moveStatus(pool, migration, migration.status, 'PAUSED', {
    status_before: migration.status,
    wait_reason: `paused by ${by}; resume to go on`,
  });
  // what was asked for before the pause would come as a surprise after it
  for (const order of ['cutover-reads', 'cutover-writes'] as const)
    await fulfilOrder(pool, migration.id, order);
  return paused;
}

/**
 * PAUSED or FAILED → the state it came from, if both tables are as they were. A migration that is at work stays so.
 * @throws ForeshadowError SCHEMA_CHANGED, CAPTURE_BROKEN; CONFLICT when it is over
 */
export async function resumeMigration(pool: Pool, name: string): Promise<Migration> {
  const migration = await getMigration(pool, name);
  const resumed = await resume(pool, migration, migration.definition);
  // a service goes on at once, not when it looks next
  if (resumed.managed) await pool.query('select pg_notify($1, $2)', [jobsChannel, changed]);
  return resumed;
}
