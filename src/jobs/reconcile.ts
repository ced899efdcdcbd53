import type { Pool } from 'pg';
import { liveLeases } from '../migration/lease.queries.ts';
import type { Migration } from '../migration/status.store.ts';
import { type JobKind, standingJobs } from './kinds.ts';
import type { JobQueue } from './queue.ts';

/**
 * Sends every job that the states of the migrations ask for and that neither waits in the queue nor is being done: after
 * a start, after a process was killed, after the queue was emptied. Jobs are hints; a superfluous one does no harm.
 * @returns what was sent
 */
export async function reconcile(
  pool: Pool,
  queue: JobQueue,
): Promise<{ kind: JobKind; migration: string }[]> {
  await queue.ensure();
  const { rows } = await pool.query<Migration>(
    `select * from foreshadow.migration_status
      where (managed and (settled_at is null or status = 'COMPLETED')) or orders ? 'abort' order by id`,
  );
  const leases = new Set((await liveLeases(pool)).map(({ migrationId, kind }) => `${migrationId} ${kind}`));
  const waiting = new Set((await queue.waiting()).map(({ migration, kind }) => `${migration} ${kind}`));
  const sent: { kind: JobKind; migration: string }[] = [];
  for (const migration of rows) {
    for (const kind of standingJobs(migration)) {
      if (leases.has(`${migration.id} ${kind}`) || waiting.has(`${migration.name} ${kind}`)) continue;
      if (await queue.send(kind, migration.name)) sent.push({ kind, migration: migration.name });
    }
  }
  return sent;
}
