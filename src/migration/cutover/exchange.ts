import type { Client, ClientBase } from 'pg';
import { ForeshadowError } from '../../core/errors.ts';
import type { TablePlan } from '../../core/plan.ts';
import type { MigrationStatus } from '../../core/states.ts';
import { literal } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import { type LaneStamp, stampSql } from '../../sync/lane.queries.ts';
import { findLate } from '../deferred-indexes.ts';
import { databaseNow, type Migration, type StatusColumns } from '../status.store.ts';
import type { Blocker } from './blockers.queries.ts';
import type { Handover } from './handover.ts';
import type { HandoverPlan } from './handovers.ts';
import type { Move } from './move.ts';
import type { Script } from './script.ts';
import { moveOf, physicalOf, swapScript } from './swap.ts';

/** An attempt that did not get through. Nothing was changed, and nobody waited longer than the budget. */
export class Blocked extends Error {
  /** who was waited for, where it is known */
  readonly by: readonly Blocker[];

  constructor(message: string, by: readonly Blocker[] = []) {
    super(message);
    this.by = by;
  }
}

/** The statements of the exchange were written for names that are not as they were: written anew they may go through. */
export class StaleName extends Blocked {}

/**
 * Two tables change places under the application: T takes that of S at the write cutover, and S that of T at a rollback.
 * An attempt is the same for both: whose writers are held, whose lanes drain, and what is renamed is told here.
 */
export interface Exchange {
  readonly kind: 'cutover' | 'rollback';
  readonly migration: Migration;
  /** its source is the table that the application writes to now, its target the one that takes its place */
  readonly plan: TablePlan;
  readonly from: MigrationStatus;
  readonly to: MigrationStatus;
  readonly columns: StatusColumns;
  /** where the application reads and writes from then on */
  readonly route: 'source' | 'target';
  /** since when the table that takes the place has been whole: older snapshots must not meet it */
  readonly complete: { readonly at: Date; readonly event: string };
  /** what readers lock: LOCK TABLE goes through a view to its tables, in the order in which its readers lock them */
  readonly readers: string;
  /** what is bound to the one table goes to the other */
  readonly move: Move;
  /** an object that the table which takes the place has itself, so that it need not come along */
  keeps(object: Handover): boolean;
  /** statements that lock the same one by one, in an order in which nobody else locks them the other way round */
  readonly inTurn: readonly [string, ...string[]];
  /** everything that must hold at the moment of the exchange. @throws Blocked, ForeshadowError */
  requireReady(client: Client): Promise<void>;
  /** renames and all that goes with them; asked while nobody is held yet */
  script(client: Client, handover: HandoverPlan): Promise<Script>;
}

/** IN_PROGRESS → COMPLETED */
export function writeCutover(migration: Migration): Exchange {
  const { names } = migration.plan;
  return {
    kind: 'cutover',
    migration,
    plan: migration.plan,
    from: 'IN_PROGRESS',
    to: 'COMPLETED',
    columns: { writes_cut_over_at: databaseNow, completed_at: databaseNow, wait_reason: null },
    route: 'target',
    complete: { at: migration.copied_at as Date, event: 'the end of the copy' },
    move: moveOf(migration),
    keeps: () => false,
    // Recursively: overlay, T, key log, S, the order in which its readers lock them.
    readers: names.overlay,
    // The view alone, then T, then S. LOCK TABLE on the view would take the key log before S, and writers hold S first.
    inTurn: [
      `alter view ${names.overlay} reset (security_barrier)`,
      ...[names.target, names.source].map((table) => `lock table ${table} in access exclusive mode`),
    ],
    requireReady: (client) => requireCopied(client, migration),
    script: async (client, handover) => {
      await requireNoLateIndex(client, migration);
      return swapScript(client, migration, handover);
    },
  };
}

/** An attempt has locked S against new ones by then. @throws ForeshadowError DEPENDENT_REFUSED */
async function requireNoLateIndex(client: ClientBase, migration: Migration): Promise<void> {
  const { plan } = migration;
  const late = await findLate(client, plan, physicalOf(migration).carried);
  if (!late.length) return;
  const names = late.map(({ name }) => name);
  throw new ForeshadowError(
    'DEPENDENT_REFUSED',
    `${plan.names.source}: index ${names.join(', ')} came after those of the target were built, and would be lost; run the migration again, which builds it there too, or drop it`,
    { table: plan.names.source, indexes: names },
  );
}

type Ready = LaneStamp & {
  phase: string | null;
  aborting: boolean;
  copied: boolean;
  invalid: string[];
  missing: string[];
};

async function requireCopied(client: Client, migration: Migration): Promise<void> {
  const { plan } = migration;
  const physical = physicalOf(migration);
  const wanted = [
    ...physical.deferred.map((index) => index.name),
    ...physical.carried.map((index) => index.temporaryName),
  ];
  const { rows } = await client.query<Ready>(
    prepared(`select ${stampSql(plan)}, m.phase, m.orders ? 'abort' as aborting, (select bool_and(done) from ${plan.names.range}) as copied,
            array(select name from unnest(array[${wanted.map(literal).join(', ')}]::text[]) name
                   where not exists (select from pg_index x join pg_class i on i.oid = x.indexrelid
                                      where x.indrelid = ${plan.targetOid} and i.relname = name)) as missing,
            array(select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid
                   where x.indrelid = ${plan.targetOid} and not x.indisvalid) as invalid
       from foreshadow.migration_status m where m.id = ${migration.id}`),
  );
  const now = rows[0] as Ready;
  if (now.aborting || now.phase !== migration.phase)
    throw new ForeshadowError(
      'CONFLICT',
      `migration ${migration.name} is ${now.aborting ? 'to be aborted' : `in phase ${now.phase} again`}`,
    );
  requireSame(now, physical.stamp, plan);
  if (!now.copied) throw new Blocked('the copy is not complete');
  if (now.missing.length) throw new Blocked(`indexes of the target are not built: ${now.missing.join(', ')}`);
  if (now.invalid.length) throw new Blocked(`indexes of the target are not valid: ${now.invalid.join(', ')}`);
}

/** @throws ForeshadowError CAPTURE_BROKEN, SCHEMA_CHANGED */
export function requireSame(now: LaneStamp, expected: LaneStamp, plan: TablePlan): void {
  if (now.capture !== expected.capture)
    throw new ForeshadowError('CAPTURE_BROKEN', `the capture trigger on ${plan.names.source} was changed`);
  if (now.source !== expected.source || now.target !== expected.target) {
    throw new ForeshadowError('SCHEMA_CHANGED', 'source or target was altered during the migration');
  }
}
