import type { Pool } from 'pg';
import { failpoint } from '../../core/failpoint.ts';
import type { TablePlan } from '../../core/plan.ts';
import { isConnectionError, isRetryable } from '../../db/sqlstate.ts';
import { transaction, withClient } from '../../db/tx.ts';
import { captureFunctionsSql, dropCaptureFunctionsSql } from '../../sync/capture.ts';
import { fullSpeed, nextChunkRows } from '../../sync/pacing.ts';
import { dropMigrationTablesSql, migrationTablesSql } from '../../sync/tables.ts';
import { keepPhysical, type Migration, recordEvent } from '../status.store.ts';
import { compareBack } from './compare.queries.ts';

/** How long one statement may look at rows of T, in ms: its snapshot is as old. */
const statementMs = 500;
const [fewest, most] = [1000, 20_000];

/**
 * Before the write cutover, while nobody is held: the key log of the way back and what writes to it are made, and every
 * row is looked at, whether the back map restores it. If it does not, there will be no way back, and the status says so.
 * May be repeated.
 */
export async function prepareWayBack(
  pool: Pool,
  migration: Migration,
  onStep: (step: string) => Promise<void>,
): Promise<void> {
  const { plan, physical } = migration;
  if (!plan.wayBack || !physical) return;
  const { wayBack } = plan;
  await onStep('looking whether the back map restores every row');
  const failing = await firstFailing(pool, plan, wayBack);
  await failpoint('back.compared');
  if (failing) {
    await keepPhysical(pool, migration, { wayBackPrepared: false, noWayBack: [failing] });
    await recordEvent(pool, migration.id, 'warning', { message: `there is no way back: ${failing}` });
    return;
  }
  await transaction(pool, async (client) => {
    await client.query("set local lock_timeout = '3s'");
    await keepPhysical(client, migration, { wayBackPrepared: false });
    for (const sql of [
      ...dropWayBackSql(wayBack),
      ...migrationTablesSql(wayBack),
      ...captureFunctionsSql(wayBack),
    ])
      await client.query(sql);
  });
  await failpoint('back.tables-made');
  await keepPhysical(pool, migration, { wayBackPrepared: true, noWayBack: [] });
}

/** Functions and tables of the way back; its triggers are dropped with the table that they are on, or before. */
export const dropWayBackSql = (wayBack: TablePlan): string[] => [
  ...dropCaptureFunctionsSql(wayBack),
  ...dropMigrationTablesSql(wayBack),
];

async function firstFailing(pool: Pool, plan: TablePlan, wayBack: TablePlan): Promise<string | null> {
  try {
    let run = fewest;
    for (let after: string[] | null = null; ; ) {
      const began = performance.now();
      const { failing, next } = await withClient(pool, (client) =>
        compareBack(client, plan, wayBack, after, run),
      );
      run = nextChunkRows(run, performance.now() - began, { ...fullSpeed, chunkMs: statementMs }, 1, most);
      if (failing.length) return `the back map does not restore rows ${failing.join('; ')}`;
      if (!next) return null;
      after = next;
    }
  } catch (error) {
    if (isConnectionError(error) || isRetryable(error)) throw error;
    return `the back map fails: ${(error as Error).message}`;
  }
}
