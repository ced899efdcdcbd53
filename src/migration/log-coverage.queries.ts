import type { Pool } from 'pg';

/** What the query log has told of the source, since the process that reads it began to. */
export interface LogCoverage {
  /** statements of the database, by others than ourselves */
  readonly executions: number;
  /** touch the source, and tell their rows */
  readonly resolved: number;
  /** touch the source, or may, and do not tell all of them */
  readonly unresolved: number;
  /** most frequent first; the share is of all that touch the source */
  readonly unresolved_shapes: readonly {
    readonly shape: string;
    readonly count: number;
    readonly share: number;
    readonly reason: string;
  }[];
}

interface Statistics {
  readonly executions?: number;
  readonly resolved?: number;
  readonly unresolved?: number;
  readonly unresolved_shapes?: readonly { shape: string; count: number; reason: string }[];
}

/** @returns null while no log was read for the migration */
export async function logCoverage(pool: Pool, migrationId: number): Promise<LogCoverage | null> {
  const { rows } = await pool.query<{ statistics: Statistics | null }>(
    'select statistics from foreshadow.access_store where migration_id = $1',
    [migrationId],
  );
  const statistics = rows[0]?.statistics;
  if (!statistics) return null;
  const { executions = 0, resolved = 0, unresolved = 0, unresolved_shapes: shapes = [] } = statistics;
  const touching = resolved + unresolved;
  return {
    executions,
    resolved,
    unresolved,
    unresolved_shapes: shapes.map(({ shape, count, reason }) => ({
      shape,
      count,
      share: count / touching,
      reason,
    })),
  };
}
