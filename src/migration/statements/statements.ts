import type { Pool, PoolClient } from 'pg';
import type { StatementShape, StatementShapes } from '../../access/statement-shapes.ts';
import type { TablePlan } from '../../core/plan.ts';
import type { CatalogTable } from '../../db/catalog.ts';
import { ownSearchPathSql } from '../preflight/expression.ts';
import { type Examination, type Examined, examineAll } from './examine.ts';
import { explainPrepared } from './explain.queries.ts';
import type { IndexAdvice, StatementReport, StatementsReport } from './report.ts';
import { serializableDefaults } from './serializable.queries.ts';
import { buildStage, realPlace, type Stage, swapStage } from './stage.queries.ts';

export interface StatementsOptions {
  readonly plan: TablePlan;
  readonly source: CatalogTable;
  /** T where it is now */
  readonly target: CatalogTable;
  /** quoted names of S and T, where indexes are to be built */
  readonly real: { readonly source: string; readonly target: string };
  /** the overlay exists */
  readonly begun: boolean;
  readonly swap: boolean;
  readonly shapes: StatementShapes;
}

const unchanged = 'cached plan must not change result type';

/**
 * The application's own statements against what is to come: the overlay, and the target under the source's name. They
 * are planned on small copies of both tables in a session of their own, and on the real ones where the overlay exists;
 * none is ever run. Nothing is left behind.
 */
export async function examineStatements(pool: Pool, options: StatementsOptions): Promise<StatementsReport> {
  const client = await pool.connect();
  try {
    return await inSession(client, options);
  } finally {
    client.release(true); // temporary tables, prepared statements and the search path go with the session
  }
}

async function inSession(client: PoolClient, options: StatementsOptions): Promise<StatementsReport> {
  const { plan, source, target, real, shapes } = options;
  const stage = await buildStage(client, plan, real.target, source);
  const now = options.begun ? await realPlace(client, plan) : null;
  // The names of other tables mean what they would mean to the application; ours are qualified.
  await client.query(ownSearchPathSql('session'));
  const examination: Examination = {
    client,
    stage,
    now,
    real,
    source,
    target,
    swap: options.swap,
    executions: shapes.executions,
  };
  const found = await examineAll(examination, shapes.shapes);
  const statements = options.swap
    ? await rehearseSwap(client, stage, found)
    : found.map(({ report }) => report);
  const serializable = shapes.shapes.reduce((sum, shape) => sum + shape.serializable, 0);
  return {
    log: {
      statements: shapes.looked,
      executions: shapes.executions,
      shapes: shapes.shapes.length,
      elsewhere: shapes.elsewhere,
      unparsed: shapes.unparsed,
    },
    tried_on: { rows: stage.rows, sampled: stage.sampled, overlay: options.begun },
    statements,
    indexes: gather(statements),
    serializable: {
      executions: serializable,
      share: serializable / Math.max(1, shapes.executions),
      defaults: await serializableDefaults(client),
    },
  };
}

/**
 * The swap, done to the stage: sessions keep what they have prepared, and the name means another table. PostgreSQL itself
 * says which of the statements it will not plan again.
 */
async function rehearseSwap(
  client: PoolClient,
  stage: Stage,
  found: readonly Examined[],
): Promise<StatementReport[]> {
  await swapStage(client, stage);
  const reports: StatementReport[] = [];
  for (const { report, shape, onSource } of found) {
    const count = Math.max(0, ...parameters(shape));
    const nulls = Array.from({ length: count }, () => null);
    const again = onSource
      ? await explainPrepared(client, onSource, nulls, 'force_generic_plan')
      : { plan: null };
    reports.push({ ...report, prepared_breaks: 'error' in again && again.error === unchanged });
  }
  return reports;
}

const parameters = ({ usage }: StatementShape) =>
  [...usage.sql.matchAll(/\$(\d+)/g)].map(([, n]) => Number(n));

/** Each index once; one that begins with all columns of another serves what the other would. */
function gather(statements: readonly StatementReport[]): StatementsReport['indexes'] {
  const bySql = new Map<
    string,
    { table: 'source' | 'target'; why: IndexAdvice['why']; helps: Set<number> }
  >();
  statements.forEach(({ advice }, i) => {
    for (const { sql, table, why } of advice) {
      const known = bySql.get(sql);
      if (known) known.helps.add(i);
      else bySql.set(sql, { table, why, helps: new Set([i]) });
    }
  });
  for (const [sql, { helps, why }] of bySql) {
    const longer = [...bySql].find(([other]) => other.startsWith(`${sql.slice(0, -1)}, `));
    if (!longer || (why === 'overlay' && longer[1].why !== 'overlay')) continue;
    for (const i of helps) longer[1].helps.add(i);
    bySql.delete(sql);
  }
  return [...bySql].map(([sql, { table, why, helps }]) => ({
    table,
    sql,
    why,
    helps: [...helps].sort((a, b) => a - b),
  }));
}
