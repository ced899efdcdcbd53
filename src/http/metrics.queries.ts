import type { Pool } from 'pg';
import type { MigrationStatus } from '../core/states.ts';

export interface MigrationFigures {
  readonly name: string;
  readonly status: MigrationStatus;
  readonly level: number | null;
  readonly lower: number | null;
  readonly rows_total: number | null;
  readonly rows_migrated: number;
  readonly shadow_rows: number;
  readonly shadow_wanted: number;
  readonly lag_p50: number | null;
  readonly lag_p99: number | null;
  readonly backlog: number | null;
}

/** The newest migrations; more would be more series than anybody looks at. */
export async function migrationFigures(pool: Pool): Promise<MigrationFigures[]> {
  const { rows } = await pool.query<MigrationFigures>(
    `select name, status, migration_confidence_level as level, confidence_lower_bound as lower,
            rows_total::float8 as rows_total, rows_migrated::float8 as rows_migrated,
            coalesce((shadow_table_status->>'rows')::float8, 0) as shadow_rows,
            coalesce((shadow_table_status->>'wanted')::float8, 0) as shadow_wanted,
            (lag->>'ms_p50')::float8 / 1000 as lag_p50, (lag->>'ms_p99')::float8 / 1000 as lag_p99,
            (lag->>'backlog')::float8 as backlog
       from foreshadow.migration_status order by id desc limit 100`,
  );
  return rows;
}
