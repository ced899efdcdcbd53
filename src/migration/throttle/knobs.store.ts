import type { Pool } from 'pg';
import { type KnobChange, type Knobs, requireKnobs } from '../../config/throttle-settings.ts';
import { ForeshadowError } from '../../core/errors.ts';
import { isOver } from '../states.ts';
import { getMigration, type Migration, recordEvent } from '../status.store.ts';

/**
 * Turns some knobs of the throttle; whoever runs the migration hears of it within a second, and a later run finds it.
 * @param change knob → value; null gives it back to the migration file
 * @throws ForeshadowError MIGRATION_UNKNOWN; USAGE for a bad value; CONFLICT when there is nothing left to copy
 */
export async function turnKnobs(
  pool: Pool,
  name: string,
  change: KnobChange,
  by: string,
): Promise<Migration> {
  requireKnobs(change);
  const { id, status, throttle } = await getMigration(pool, name);
  if (isOver(status) || status === 'COMPLETED')
    throw new ForeshadowError('CONFLICT', `migration ${name} is ${status}; there is nothing to throttle`);
  const unset = Object.entries(change).flatMap(([knob, value]) => (value === null ? [knob] : []));
  const set = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== null));
  await pool.query(
    `update foreshadow.migration_status
        set throttle = (throttle || $2::jsonb) - $3::text[], updated_at = clock_timestamp() where id = $1`,
    [id, JSON.stringify(set), unset],
  );
  await recordEvent(pool, id, 'knobs', { change, before: throttle as Knobs, by });
  return getMigration(pool, name);
}
