import type { ClientBase, Pool } from 'pg';
import type { MigrationFile } from '../config/migration-file.ts';
import { ForeshadowError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { TablePlan } from '../core/plan.ts';
import type { MigrationStatus, RouteTo } from '../core/states.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import type { LaneStamp } from '../sync/lane.queries.ts';
import type { NamedRelation } from './cutover/names.ts';
import { mayFollow } from './states.ts';

/** A unique index of T that waits until the copy is complete. */
export interface DeferredIndex {
  readonly name: string;
  readonly definition: string;
  /** what follows the table's name in the definition: `USING btree (…)` and all the rest */
  readonly body: string;
  /** present when a constraint owns the index */
  readonly constraint: {
    readonly name: string;
    readonly definition: string;
    readonly deferrable: boolean;
  } | null;
  readonly comment: string | null;
  /** the index that CLUSTER goes by */
  readonly clustered: boolean;
  /** the non-unique index that serves lookups meanwhile; null where there cannot be one */
  readonly twin: string | null;
}

/** An index or check of S that the target gets after the copy, because the swap carries it. */
export interface CarriedIndex {
  readonly name: string;
  readonly temporaryName: string;
  readonly definition: string;
  /** what follows the name of the constraint that owns it on S, such as `unique deferrable`; null for a bare index */
  readonly constraint: string | null;
  readonly comment?: string | null;
  readonly constraintComment?: string | null;
}

/** What was there before, so that abort can put it back and the swap can name it. */
export interface Physical {
  readonly source: { readonly schema: string; readonly name: string };
  readonly target: { readonly schema: string; readonly name: string };
  readonly stamp: LaneStamp;
  readonly deferred: readonly DeferredIndex[];
  readonly carried: readonly CarriedIndex[];
  /** columns as they were, to say what DDL changed */
  readonly columns: { readonly source: readonly string[]; readonly target: readonly string[] };
  /** our index on S over the mapped key; null when the key maps to itself */
  readonly mappedKeyIndex: string | null;
  /** set by the swap: statements that finish its work afterwards, without its locks; may be repeated */
  readonly settle?: readonly string[];
  /** the back map restores every row, and what the way back needs is made */
  readonly wayBackPrepared?: boolean;
  /** what was found out too late for the plan: why there is no way back */
  readonly noWayBack?: readonly string[];
  /** written by the write cutover: how the old table is kept in step from then on */
  readonly wayBack?: {
    readonly plan: TablePlan;
    readonly stamp: LaneStamp;
    /** indexes and sequences of the old table, with the names that they go back to */
    readonly relations: readonly NamedRelation[];
  };
}

/** What an operator may ask for; it stays in the status row until it is done. */
export const orders = ['cutover-reads', 'cutover-writes', 'abort', 'rollback', 'finalize'] as const;
export type Order = (typeof orders)[number];

export interface Migration {
  readonly id: number;
  readonly name: string;
  readonly definition: MigrationFile;
  readonly status: MigrationStatus;
  readonly status_before: MigrationStatus | null;
  readonly phase: 'none' | 'copy' | 'index' | 'verify' | 'ready';
  readonly read_from: RouteTo;
  readonly write_to: 'source' | 'target';
  readonly epoch: string;
  readonly plan: TablePlan;
  readonly physical: Physical | null;
  readonly managed: boolean;
  readonly orders: Readonly<
    Partial<
      Record<
        Order,
        {
          readonly by: string;
          readonly at: string;
          readonly drop_old?: boolean;
          /** who wants the sessions ended that stand in its way; null or absent: nobody */
          readonly terminate_blockers?: string | null;
        }
      >
    >
  >;
  readonly settled_at: Date | null;
  readonly [column: string]: unknown;
}

export async function findMigration(db: Pool | ClientBase, name: string): Promise<Migration | null> {
  const { rows } = await (db as Pool).query<Migration>(
    'select * from foreshadow.migration_status where name = $1',
    [name],
  );
  return rows[0] ?? null;
}

/** @throws ForeshadowError MIGRATION_UNKNOWN */
export async function getMigration(db: Pool | ClientBase, name: string): Promise<Migration> {
  const migration = await findMigration(db, name);
  if (!migration) throw new ForeshadowError('MIGRATION_UNKNOWN', `there is no migration called ${name}`);
  return migration;
}

export async function listMigrations(db: Pool): Promise<Migration[]> {
  return (await db.query<Migration>('select * from foreshadow.migration_status order by id')).rows;
}

/** A page of all migrations, in the order in which they were made. */
export async function listMigrationsPage(db: Pool, afterId: number, limit: number): Promise<Migration[]> {
  const { rows } = await db.query<Migration>(
    'select * from foreshadow.migration_status where id > $1 order by id limit $2',
    [afterId, limit],
  );
  return rows;
}

/** Records a planned migration. @throws ForeshadowError CONFLICT when the name is taken */
export async function insertMigration(
  db: Pool,
  file: MigrationFile,
  oids: { source: number; target: number },
  planOf: (id: number) => TablePlan,
  rowsTotal: number,
): Promise<Migration> {
  try {
    const next = await db.query<{ id: number }>(
      "select nextval(pg_get_serial_sequence('foreshadow.migration_status', 'id'))::int as id",
    );
    const id = next.rows[0]?.id as number;
    const { rows } = await db.query<Migration>(
      `insert into foreshadow.migration_status (id, name, definition, source_oid, target_oid, rows_total, plan)
       overriding system value values ($1, $2, $3, $4, $5, $6, $7) returning *`,
      [id, file.name, JSON.stringify(file), oids.source, oids.target, rowsTotal, JSON.stringify(planOf(id))],
    );
    await failpoint('plan.recorded');
    return rows[0] as Migration;
  } catch (error) {
    if (codeOf(error) !== sqlstate.uniqueViolation) throw error;
    throw new ForeshadowError(
      'CONFLICT',
      `a migration called ${file.name} exists already`,
      {},
      { cause: error },
    );
  }
}

/** Columns of the status row that a step may set along with (or without) a change of state. */
export type StatusColumns = Readonly<Record<string, unknown>>;

/** The database's own time, as a value of {@link StatusColumns}: ours may differ, and snapshots are compared with it. */
export const databaseNow = Symbol('clock_timestamp()');

function assignments(columns: StatusColumns, first: number): { sql: string; values: unknown[] } {
  const values: unknown[] = [];
  let sql = '';
  for (const [name, value] of Object.entries(columns)) {
    if (value === databaseNow) {
      sql += `, ${name} = clock_timestamp()`;
      continue;
    }
    const document = value !== null && typeof value === 'object' && !(value instanceof Date);
    values.push(document ? JSON.stringify(value) : value);
    sql += `, ${name} = $${first + values.length - 1}`;
  }
  return { sql, values };
}

/**
 * Updates the row without moving the state. Column names come from our code only.
 * @param only what it says holds in this state alone: nothing is written when somebody else has moved it
 */
export async function updateStatus(
  db: Pool | ClientBase,
  id: number,
  columns: StatusColumns,
  only: MigrationStatus | null = null,
): Promise<void> {
  const { sql, values } = assignments(columns, 3);
  await (db as Pool).query(
    `update foreshadow.migration_status set updated_at = clock_timestamp()${sql}
      where id = $1 and ($2::text is null or status = $2)`,
    [id, only, ...values],
  );
}

/**
 * Adds to what is known of tables and indexes, beside what other processes add; only while the write cutover is still to come,
 * since a process that was stopped meanwhile would write over what the swap knows.
 * @throws ForeshadowError CONFLICT when it is not
 */
export async function keepPhysical(
  db: Pool | ClientBase,
  { id, name }: Migration,
  known: Partial<NonNullable<Migration['physical']>>,
): Promise<void> {
  const { rowCount } = await (db as Pool).query(
    `update foreshadow.migration_status set updated_at = clock_timestamp(), physical = physical || $2::jsonb
      where id = $1 and status = 'IN_PROGRESS'`,
    [id, JSON.stringify(known)],
  );
  if (!rowCount)
    throw new ForeshadowError(
      'CONFLICT',
      `migration ${name} is no longer IN_PROGRESS; somebody else moved it`,
    );
}

/**
 * Writes what an evaluation has found, unless the state, the size of the shadow or another evaluation was written since
 * `migration` was read: then it speaks of another shadow, or of long ago. @returns whether it was written
 */
export async function updateEvaluation(
  db: Pool,
  migration: Migration,
  columns: StatusColumns,
): Promise<boolean> {
  const { id, status, shadow_fraction: fraction, confident_in_a_row: inARow, evaluated_at: at } = migration;
  const { sql, values } = assignments(columns, 6);
  const { rowCount } = await db.query(
    `update foreshadow.migration_status set updated_at = clock_timestamp()${sql}
      where id = $1 and status = $2 and shadow_fraction is not distinct from $3::float8 and confident_in_a_row = $4
        and date_trunc('milliseconds', evaluated_at) is not distinct from $5::timestamptz`,
    [id, status, fraction, inARow, at, ...values],
  );
  return rowCount === 1;
}

/**
 * Moves a migration from one state to the next, if it still is in that state, and writes the event.
 * @throws ForeshadowError CONFLICT when somebody else has moved it
 */
export async function moveStatus(
  db: Pool | ClientBase,
  migration: Pick<Migration, 'id' | 'name'>,
  from: MigrationStatus,
  to: MigrationStatus,
  columns: StatusColumns = {},
): Promise<Migration> {
  if (!mayFollow(from, to)) {
    throw new ForeshadowError('CONFLICT', `migration ${migration.name} is ${from} and cannot become ${to}`);
  }
  const { sql, values } = assignments(columns, 4);
  const { rows } = await (db as Pool).query<Migration>(
    `with moved as (
       update foreshadow.migration_status set status = $3, updated_at = clock_timestamp()${sql}
        where id = $1 and status = $2 returning *),
     event as (
       insert into foreshadow.migration_event (migration_id, kind, from_status, to_status) select id, 'status', $2, $3 from moved)
     select * from moved`,
    [migration.id, from, to, ...values],
  );
  if (!rows[0])
    throw new ForeshadowError(
      'CONFLICT',
      `migration ${migration.name} is no longer ${from}; somebody else moved it`,
    );
  return rows[0];
}

/** Changes which table the application should use; subscribers of foreshadow_route are told at commit. */
export async function routeTo(
  client: ClientBase,
  id: number,
  readFrom: RouteTo,
  writeTo: 'source' | 'target',
): Promise<void> {
  await client.query(
    `with routed as (
       update foreshadow.migration_status set read_from = $2, write_to = $3, epoch = epoch + 1 where id = $1 returning name, epoch)
     select pg_notify('foreshadow_route', json_build_object('name', name, 'epoch', epoch)::text) from routed`,
    [id, readFrom, writeTo],
  );
}

export async function recordEvent(
  db: Pool | ClientBase,
  id: number,
  kind: string,
  detail: Record<string, unknown>,
): Promise<void> {
  await (db as Pool).query(
    'insert into foreshadow.migration_event (migration_id, kind, detail) values ($1, $2, $3)',
    [id, kind, JSON.stringify(detail)],
  );
}

/** An event that is not repeated while it stays the latest of its kind. */
export async function recordOnce(
  db: Pool | ClientBase,
  id: number,
  kind: string,
  message: string,
): Promise<void> {
  await (db as Pool).query(
    `insert into foreshadow.migration_event (migration_id, kind, detail)
     select $1, $2, jsonb_build_object('message', $3::text)
      where $3 is distinct from (select e.detail ->> 'message' from foreshadow.migration_event e
                                  where e.migration_id = $1 and e.kind = $2 order by e.id desc limit 1)`,
    [id, kind, message],
  );
}

/**
 * Writes beside the model in use that it has drifted, unless that is known already or another model has come.
 * @param trainedAt of the model that drifted, as in the status
 * @returns whether it was news
 */
export async function noteModelDrift(
  db: Pool,
  id: number,
  trainedAt: string,
  drift: Record<string, unknown>,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update foreshadow.migration_status
        set model = model || jsonb_build_object('drift', $3::jsonb), updated_at = clock_timestamp()
      where id = $1 and model->>'trained_at' = $2 and model->'drift' is null`,
    [id, trainedAt, JSON.stringify(drift)],
  );
  return rowCount === 1;
}

/** One lock that we took on the application's tables: how long we waited, how long others could have waited for us. */
export interface LockRecord {
  readonly kind:
    | 'capture'
    | 'cutover-writers'
    | 'cutover-readers'
    | 'abort'
    | 'rollback-writers'
    | 'rollback-readers'
    | 'finalize';
  readonly wait_ms: number;
  readonly hold_ms: number;
  readonly attempts: number;
  /** that were held together */
  readonly tables?: readonly string[];
}

export async function lockHistory(db: Pool, id: number): Promise<(LockRecord & { at: Date })[]> {
  const { rows } = await db.query(
    "select at, detail from foreshadow.migration_event where migration_id = $1 and kind = 'lock' order by id",
    [id],
  );
  return rows.map((row) => ({ ...row.detail, at: row.at }));
}
