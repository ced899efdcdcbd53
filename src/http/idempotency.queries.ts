import type { Pool } from 'pg';

export interface StoredAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What the table says about a key: ours to work on now, somebody's, or done. */
export type Claim =
  | { readonly state: 'ours' | 'at work' | 'other request' }
  | { readonly state: 'done'; readonly answer: StoredAnswer };

/**
 * Takes a key, if nobody has. One that a process took and did not finish within a minute is free again for the same
 * request: the process is gone, and every request of ours may be repeated.
 */
export async function claimKey(pool: Pool, actor: string, key: string, fingerprint: string): Promise<Claim> {
  const { rowCount } = await pool.query(
    `insert into foreshadow.idempotency as i (actor, key, fingerprint) values ($1, $2, $3)
     on conflict (actor, key) do update
       set fingerprint = excluded.fingerprint, status = null, headers = null, body = null, at = clock_timestamp()
     where i.at < clock_timestamp() - interval '24 hours'
        or (i.status is null and i.fingerprint = excluded.fingerprint
            and i.at < clock_timestamp() - interval '1 minute')`,
    [actor, key, fingerprint],
  );
  if (rowCount) return { state: 'ours' };
  const { rows } = await pool.query<StoredAnswer & { fingerprint: string }>(
    'select fingerprint, status, headers, body from foreshadow.idempotency where actor = $1 and key = $2',
    [actor, key],
  );
  const row = rows[0];
  if (!row) return { state: 'at work' }; // it failed just now; the next attempt takes the key
  if (row.fingerprint !== fingerprint) return { state: 'other request' };
  return row.status === null ? { state: 'at work' } : { state: 'done', answer: row };
}

export async function storeAnswer(
  pool: Pool,
  actor: string,
  key: string,
  answer: StoredAnswer,
): Promise<void> {
  await pool.query(
    `update foreshadow.idempotency set status = $3, headers = $4, body = $5
      where actor = $1 and key = $2 and status is null`,
    [actor, key, answer.status, JSON.stringify(answer.headers), answer.body],
  );
}

/** Gives a key back, so that the request may be tried again. */
export async function releaseKey(pool: Pool, actor: string, key: string): Promise<void> {
  await pool.query('delete from foreshadow.idempotency where actor = $1 and key = $2 and status is null', [
    actor,
    key,
  ]);
}

export async function dropOldKeys(pool: Pool): Promise<void> {
  await pool.query("delete from foreshadow.idempotency where at < clock_timestamp() - interval '24 hours'");
}
