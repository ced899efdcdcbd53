import type { ClientBase, Pool } from 'pg';
import type { Access } from '../core/access.ts';
import { transaction } from '../db/tx.ts';
import { decodeAccesses, encodeAccesses } from './batch.ts';

export type AccessSource = 'log' | 'signals' | 'reported';

/** Where mining stands; in the same transaction as the accesses that it has given. */
export interface MiningState {
  /** opaque to the store */
  readonly place: Readonly<Record<string, { readonly offset: number; readonly head: string }>>;
  /** moves with every step of mining */
  readonly version: number;
  readonly caughtUp: boolean;
  readonly behindBytes: number | null;
}

export interface MiningStep {
  readonly place: MiningState['place'];
  readonly behindBytes: number;
  readonly statistics: unknown;
  readonly accesses: readonly Access[];
}

/** @returns null while nobody has mined for this migration, nor reported */
export async function miningState(db: Pool, migrationId: number): Promise<MiningState | null> {
  const { rows } = await db.query(
    `select s.log_position as place, s.log_version::float8 as version, s.caught_up_at is not null as "caughtUp",
            s.behind_bytes::float8 as "behindBytes"
       from foreshadow.access_store s where s.migration_id = $1`,
    [migrationId],
  );
  return rows[0] ?? null;
}

export async function createStore(db: Pool, migrationId: number): Promise<void> {
  await db.query(
    'insert into foreshadow.access_store (migration_id) values ($1) on conflict (migration_id) do nothing',
    [migrationId],
  );
}

/** Says that the end of the log was reached again, where a step found nothing new and so is not stored. */
export async function touchMined(pool: Pool, migrationId: number, version: number): Promise<void> {
  await pool.query(
    `update foreshadow.access_store set caught_up_at = clock_timestamp()
      where migration_id = $1 and log_version = $2 and behind_bytes = 0`,
    [migrationId, version],
  );
}

/** Seconds since somebody reached the end of the query log; null where nobody ever did. */
export async function logLag(pool: Pool, migrationId: number): Promise<number | null> {
  const { rows } = await pool.query<{ lag: number | null }>(
    `select extract(epoch from clock_timestamp() - caught_up_at)::float8 as lag
       from foreshadow.access_store where migration_id = $1`,
    [migrationId],
  );
  return rows[0]?.lag ?? null;
}

/**
 * Takes one step of mining: its accesses and the place behind them, together or not at all.
 * @returns false when another miner has been faster; then nothing was done
 */
export async function storeMined(
  pool: Pool,
  migrationId: number,
  version: number,
  step: MiningStep,
): Promise<boolean> {
  return transaction(pool, async (client) => {
    const { rowCount } = await client.query(
      `update foreshadow.access_store
          set log_position = $3, log_version = log_version + 1, behind_bytes = $4, statistics = $5,
              caught_up_at = case when $4::bigint = 0 then clock_timestamp() else caught_up_at end
        where migration_id = $1 and log_version = $2`,
      [migrationId, version, JSON.stringify(step.place), step.behindBytes, JSON.stringify(step.statistics)],
    );
    if (!rowCount) return false;
    if (step.accesses.length) await append(client, migrationId, 'log', step.accesses);
    return true;
  });
}

/** Appends accesses from elsewhere. They are durable when it returns. */
export async function appendAccesses(
  pool: Pool,
  migrationId: number,
  source: AccessSource,
  accesses: readonly Access[],
): Promise<void> {
  if (!accesses.length) return;
  await createStore(pool, migrationId);
  await transaction(pool, (client) => append(client, migrationId, source, accesses));
}

/** Where the rows' own change times stand: seconds since the epoch; null for what is not there. */
export interface SignalPlace {
  /** the latest one taken in */
  readonly last: number | null;
  /** the earliest access that the log gave */
  readonly firstLogged: number | null;
  /** when capture began to see every change */
  readonly shadowing: number | null;
}

export async function signalPlace(pool: Pool, migrationId: number): Promise<SignalPlace> {
  const { rows } = await pool.query<SignalPlace>(
    `select (select max(last_at) from foreshadow.access_batch where migration_id = $1 and source = 'signals') as last,
            (select min(first_at) from foreshadow.access_batch where migration_id = $1 and source = 'log') as "firstLogged",
            (select extract(epoch from shadowing_at)::float8 from foreshadow.migration_status where id = $1) as shadowing`,
    [migrationId],
  );
  return rows[0] as SignalPlace;
}

/**
 * Takes in change times found after `last`. @returns false when another process has been faster; then nothing was done
 */
export async function appendSignals(
  pool: Pool,
  migrationId: number,
  last: number | null,
  accesses: readonly Access[],
): Promise<boolean> {
  if (!accesses.length) return true;
  return transaction(pool, async (client) => {
    await client.query("set local lock_timeout = '5s'");
    await client.query('select from foreshadow.access_store where migration_id = $1 for update', [
      migrationId,
    ]);
    const { rows } = await client.query<{ last: number | null }>(
      `select max(last_at) as last from foreshadow.access_batch where migration_id = $1 and source = 'signals'`,
      [migrationId],
    );
    if ((rows[0]?.last ?? null) !== last) return false;
    await append(client, migrationId, 'signals', accesses);
    return true;
  });
}

async function append(
  client: ClientBase,
  migrationId: number,
  source: AccessSource,
  accesses: readonly Access[],
): Promise<void> {
  let first = Number.POSITIVE_INFINITY;
  let last = Number.NEGATIVE_INFINITY;
  for (const { at } of accesses) {
    first = Math.min(first, at);
    last = Math.max(last, at);
  }
  await client.query(
    `with numbered as (
       update foreshadow.access_store set next_seq = next_seq + 1 where migration_id = $1 returning next_seq - 1 as seq)
     insert into foreshadow.access_batch (migration_id, seq, source, first_at, last_at, accesses, body)
     select $1, seq, $2, $3, $4, $5, $6 from numbered`,
    [migrationId, source, first, last, accesses.length, encodeAccesses(accesses)],
  );
}

export interface AccessBatch {
  readonly seq: number;
  readonly source: AccessSource;
  readonly accesses: readonly Access[];
}

/** The batches after one, in order; at most `limit` of them. */
export async function batchesAfter(
  pool: Pool,
  migrationId: number,
  seq: number,
  limit: number,
): Promise<AccessBatch[]> {
  const { rows } = await pool.query<{ seq: number; source: AccessSource; body: Buffer }>(
    `select seq::float8 as seq, source, body from foreshadow.access_batch
      where migration_id = $1 and seq > $2 order by seq limit $3`,
    [migrationId, seq, limit],
  );
  return rows.map(({ body, ...rest }) => ({ ...rest, accesses: decodeAccesses(body) }));
}

/** How many accesses are stored, of all sources. */
export async function countAccesses(pool: Pool, migrationId: number): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    'select coalesce(sum(accesses), 0)::float8 as n from foreshadow.access_batch where migration_id = $1',
    [migrationId],
  );
  return rows[0]?.n ?? 0;
}

/** Time of the earliest stored access, seconds since the epoch; null without any. */
export async function firstAccessAt(pool: Pool, migrationId: number): Promise<number | null> {
  const { rows } = await pool.query<{ at: number | null }>(
    'select min(first_at) as at from foreshadow.access_batch where migration_id = $1',
    [migrationId],
  );
  return rows[0]?.at ?? null;
}

/** Forgets the oldest batches beyond the latest `keep` accesses. */
export async function forgetAccesses(pool: Pool, migrationId: number, keep: number): Promise<void> {
  await pool.query(
    `delete from foreshadow.access_batch b using (
       select seq, sum(accesses) over (order by seq desc) as newer
         from foreshadow.access_batch where migration_id = $1) n
      where b.migration_id = $1 and b.seq = n.seq and n.newer > $2`,
    [migrationId, keep],
  );
}
