import { appendAccesses } from '../access/store.queries.ts';
import type { Context } from '../context.ts';
import type { Access } from '../core/access.ts';
import type { Migration } from '../migration/status.store.ts';
import { hashedKeysOf } from './hashed-keys.ts';

/**
 * Takes in accesses that did not come from following the log: reported over HTTP, read from a file of events or from
 * other logs. They are durable when it returns. The same accesses given twice count twice.
 */
export async function reportAccesses(
  ctx: Context,
  migration: Migration,
  accesses: readonly Access[],
): Promise<void> {
  const hashed = hashedKeysOf(ctx, migration)?.hashed(accesses);
  await appendAccesses(ctx.pool, migration.id, 'reported', hashed ?? accesses);
}
