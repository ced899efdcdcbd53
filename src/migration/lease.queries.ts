import type { ClientBase, Pool } from 'pg';

/** Seconds that a lease holds without being renewed: so long does a stopped process keep others waiting. */
export const leaseSeconds = 10;

export interface LeaseHolder {
  readonly holder: string;
  readonly pid: number;
  readonly until: Date;
}

/** A lease counts while the session that took it lives and its time has not run out. */
const live = (alias: string) => `${alias}.until > clock_timestamp()
  and ${alias}.backend_start = (select a.backend_start from pg_stat_get_activity(${alias}.pid) a)`;

/**
 * Takes a lease if it is free, or by force.
 * @returns null when it is ours now, else who holds it
 */
export async function takeLease(
  client: ClientBase,
  migrationId: number,
  kind: string,
  holder: string,
  force: boolean,
): Promise<LeaseHolder | null> {
  const { rowCount } = await client.query(
    `insert into foreshadow.lease as l (migration_id, kind, holder, pid, backend_start, until)
     select $1, $2, $3, a.pid, a.backend_start, clock_timestamp() + $4::float8 * interval '1 second'
       from pg_stat_get_activity(pg_backend_pid()) a
     on conflict (migration_id, kind) do update
       set holder = excluded.holder, pid = excluded.pid, backend_start = excluded.backend_start, until = excluded.until
     where $5 or coalesce(not (${live('l')}), true)`,
    [migrationId, kind, holder, leaseSeconds, force],
  );
  if (rowCount) return null;
  const { rows } = await client.query<LeaseHolder>(
    'select holder, pid, until from foreshadow.lease where migration_id = $1 and kind = $2',
    [migrationId, kind],
  );
  return rows[0] ?? { holder: 'somebody', pid: 0, until: new Date() };
}

/** Renews all leases of a holder from this session. @returns those that are still its own */
export async function renewLeases(
  client: ClientBase,
  holder: string,
): Promise<{ migrationId: number; kind: string }[]> {
  const { rows } = await client.query<{ migrationId: number; kind: string }>(
    `update foreshadow.lease l
        set pid = a.pid, backend_start = a.backend_start, until = clock_timestamp() + $2::float8 * interval '1 second'
       from pg_stat_get_activity(pg_backend_pid()) a
      where l.holder = $1 returning l.migration_id as "migrationId", l.kind`,
    [holder, leaseSeconds],
  );
  return rows;
}

export async function dropLease(
  client: ClientBase,
  migrationId: number,
  kind: string,
  holder: string,
): Promise<void> {
  await client.query('delete from foreshadow.lease where migration_id = $1 and kind = $2 and holder = $3', [
    migrationId,
    kind,
    holder,
  ]);
}

/** Every lease that holds now. */
export async function liveLeases(
  pool: Pool,
): Promise<{ migrationId: number; kind: string; holder: string }[]> {
  const { rows } = await pool.query<{ migrationId: number; kind: string; holder: string }>(
    `select l.migration_id as "migrationId", l.kind, l.holder from foreshadow.lease l where ${live('l')}`,
  );
  return rows;
}
