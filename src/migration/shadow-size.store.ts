import type { Pool } from 'pg';
import { ForeshadowError } from '../core/errors.ts';
import { getMigration, type Migration, moveStatus, recordEvent, updateStatus } from './status.store.ts';

/** The bounds of `shadow.fraction` in the migration file. */
export const fractionBounds = { minimum: 0.001, maximum: 0.5 } as const;

/** Share of the rows that the shadow is to hold now: as an operator has changed it, else as the file says. */
export function shadowFraction(migration: Migration): number {
  return (migration.shadow_fraction as number | null) ?? migration.definition.shadow.fraction;
}

/**
 * Changes the size of the shadow while it is kept. The rows are chosen anew at once: a larger shadow keeps its random rows
 * and gains some (their random numbers are permanent), a smaller one lets lanes take rows out of the target again.
 * Confidence starts anew, and the gate is shut until it holds.
 * @throws ForeshadowError MIGRATION_UNKNOWN; USAGE for a bad fraction; CONFLICT once reads are cut over
 */
export async function resizeShadow(
  pool: Pool,
  name: string,
  fraction: number,
  by: string,
): Promise<Migration> {
  const { minimum, maximum } = fractionBounds;
  if (!(fraction >= minimum && fraction <= maximum))
    throw new ForeshadowError(
      'USAGE',
      `the shadow holds a share of ${minimum} to ${maximum}, not ${fraction}`,
    );
  const migration = await getMigration(pool, name);
  const { id, status, status_before: before } = migration;
  const resting = status === 'PAUSED' || status === 'FAILED';
  const state = resting ? before : status;
  if (state !== 'PLANNED' && state !== 'SHADOWING' && state !== 'READY')
    throw new ForeshadowError(
      'CONFLICT',
      `migration ${name} is ${status}: its shadow grows with the copy, and has no size of its own any more`,
    );
  const from = shadowFraction(migration);
  const anew = {
    shadow_fraction: fraction,
    confident_in_a_row: 0,
    gate: { open: false, reasons: ['the size of the shadow was changed; wait for the next evaluations'] },
  };
  // what made it READY was said of another shadow
  if (status === 'READY')
    await moveStatus(pool, migration, 'READY', 'SHADOWING', { ...anew, ready_at: null });
  else await updateStatus(pool, id, anew);
  await recordEvent(pool, id, 'shadow', {
    message: `the shadow is to hold ${percent(fraction)} of the rows, not ${percent(from)} any more`,
    from,
    to: fraction,
    by,
  });
  return getMigration(pool, name);
}

const percent = (share: number) => `${Number((100 * share).toFixed(2))} %`;
