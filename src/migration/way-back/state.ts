import { ForeshadowError } from '../../core/errors.ts';
import type { TablePlan } from '../../core/plan.ts';
import type { Migration } from '../status.store.ts';

/** Whether a write cutover can be taken back: before it, whether it will be possible; after it, whether it still is. */
export interface WayBack {
  readonly open: boolean;
  /** why not */
  readonly reasons: readonly string[];
}

export function wayBackOf(migration: Migration): WayBack {
  const { status, plan, physical } = migration;
  if (status === 'COMPLETED')
    return physical?.wayBack ? { open: true, reasons: [] } : { open: false, reasons: reasonsOf(migration) };
  if (status === 'FINALIZED') return { open: false, reasons: ['the migration is finalized'] };
  if (status === 'ROLLED_BACK' || status === 'ABORTED')
    return { open: false, reasons: [`the migration is ${status}`] };
  const open = Boolean(plan.wayBack) && !physical?.noWayBack?.length;
  return { open, reasons: open ? [] : reasonsOf(migration) };
}

function reasonsOf({ plan, physical }: Migration): readonly string[] {
  const known = [...(plan.noWayBack ?? []), ...(physical?.noWayBack ?? [])];
  return known.length ? known : ['none was prepared before the write cutover'];
}

/**
 * The plan of the way back, of a migration whose writes are cut over.
 * @throws ForeshadowError NO_WAY_BACK saying why
 */
export function requireWayBack(migration: Migration): TablePlan {
  const { name, status, physical } = migration;
  const { open, reasons } = wayBackOf(migration);
  if (status !== 'COMPLETED')
    throw new ForeshadowError(
      'CONFLICT',
      `migration ${name} is ${status}; only a completed one can be rolled back`,
    );
  if (!open || !physical?.wayBack)
    throw new ForeshadowError(
      'NO_WAY_BACK',
      `migration ${name} cannot be rolled back: ${reasons.join('; ')}`,
      { reasons },
    );
  return physical.wayBack.plan;
}
