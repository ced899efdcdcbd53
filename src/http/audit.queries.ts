import type { Pool } from 'pg';

export interface AuditEntry {
  readonly actor: string;
  readonly role: string;
  /** method and route */
  readonly action: string;
  readonly migration: string | null;
  /** of the answer */
  readonly status: number;
  readonly requestId: string;
  readonly remote: string;
}

export async function recordAudit(pool: Pool, entry: AuditEntry): Promise<void> {
  await pool.query(
    `insert into foreshadow.audit (actor, role, action, migration, status, request_id, remote)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    [entry.actor, entry.role, entry.action, entry.migration, entry.status, entry.requestId, entry.remote],
  );
}
