import type { Pool } from 'pg';
import { ForeshadowError } from '../core/errors.ts';

export interface MigrationEvent {
  /** where a reader goes on after this event */
  readonly cursor: string;
  readonly at: Date;
  /** status, lock, model, warning, order, verification … */
  readonly kind: string;
  readonly from_status: string | null;
  readonly to_status: string | null;
  readonly detail: Readonly<Record<string, unknown>>;
}

const cursorForm = /^([0-9]{1,20})-([0-9]{1,19})$/;

/**
 * The events of a migration after a cursor (null: from the first), each exactly once. Their order is that of the
 * transactions that wrote them; an event is told of when no older transaction runs any more, so that none can turn up
 * later before one that was told.
 * @throws ForeshadowError USAGE for what is no cursor
 */
export async function eventsAfter(
  pool: Pool,
  migrationId: number,
  cursor: string | null,
  limit: number,
): Promise<MigrationEvent[]> {
  const match = cursorForm.exec(cursor ?? '0-0');
  if (!match) throw new ForeshadowError('USAGE', 'an event id has the form 123-45');
  const { rows } = await pool.query<MigrationEvent>(
    `select e.xid::text || '-' || e.id as cursor, e.at, e.kind, e.from_status, e.to_status, e.detail
       from foreshadow.migration_event e
      where e.migration_id = $1 and (e.xid, e.id) > ($2::text::xid8, $3::bigint)
        and e.xid < pg_snapshot_xmin(pg_current_snapshot())
      order by e.xid, e.id limit $4`,
    [migrationId, match[1], match[2], limit],
  );
  return rows;
}
