/** The life of a migration. What may follow what is in migration/states.ts. */
export const migrationStatuses = [
  'PLANNED',
  'SHADOWING',
  'READY',
  'IN_PROGRESS',
  'COMPLETED',
  'FINALIZED',
  'PAUSED',
  'ABORTED',
  'ROLLED_BACK',
  'FAILED',
] as const;
export type MigrationStatus = (typeof migrationStatuses)[number];

/** Which table the application should use. */
export type RouteTo = 'source' | 'overlay' | 'target';

/** Why a row is in the shadow. `random` is the uniform remainder B; all others belong to the certain set A. */
export const strata = ['predictive', 'frequency', 'change', 'new', 'incumbent', 'random'] as const;
export type Stratum = (typeof strata)[number];
