import type { Pool } from 'pg';
import { failpoint } from '../../core/failpoint.ts';
import { transaction } from '../../db/tx.ts';
import { setLaneMode } from '../../sync/lane.queries.ts';
import { databaseNow, type Migration, moveStatus, routeTo } from '../status.store.ts';
import { hasRowSecurity } from './row-security.queries.ts';

/**
 * READY → IN_PROGRESS: the application is told to read from the overlay, and lanes begin to copy. The overlay has been
 * exact all the time, so this changes a route and nothing else; it takes no lock on the application's tables.
 */
export async function cutOverReads(pool: Pool, migration: Migration): Promise<Migration> {
  const moved = await transaction(pool, async (client) => {
    const moved = await moveStatus(client, migration, 'READY', 'IN_PROGRESS', {
      phase: 'copy',
      reads_cut_over_at: databaseNow,
      wait_reason: null,
    });
    await setLaneMode(client, migration.plan, 'IN_PROGRESS');
    await failpoint('reads.modes-set');
    // Nobody else may read the overlay of a table with row security: its readers stay where they are until the swap.
    const closed = await hasRowSecurity(client, migration.plan);
    await routeTo(client, migration.id, closed ? 'source' : 'overlay', 'source');
    await failpoint('reads.routed');
    return moved;
  });
  await failpoint('reads.committed');
  return moved;
}
