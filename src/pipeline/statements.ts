import { ShapeCollector } from '../access/statement-shapes.ts';
import { loadParser } from '../access/usage.ts';
import type { MigrationFile } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { TablePlan } from '../core/plan.ts';
import { type CatalogTable, readTable } from '../db/catalog.ts';
import { ident, parseQualifiedName } from '../db/ident.ts';
import { schemaVersion } from '../db/migrate.ts';
import { withClient } from '../db/tx.ts';
import { readLog } from '../logs/index.ts';
import type { Preflight } from '../migration/preflight/preflight.ts';
import { physicalPlan, preflight } from '../migration/preflight/preflight.ts';
import type { StatementsReport } from '../migration/statements/report.ts';
import { examineStatements } from '../migration/statements/statements.ts';
import { isOver } from '../migration/states.ts';
import { findMigration, getMigration, type Migration } from '../migration/status.store.ts';

/** What statements are tried on: both tables as they stand now. */
interface Subject {
  readonly plan: TablePlan;
  readonly source: CatalogTable;
  readonly target: CatalogTable;
  readonly begun: boolean;
}

/** The migration of this name when it is on its way: between the begin and the swap, its overlay can be asked. */
export async function migrationUnderWay(ctx: Context, file: MigrationFile): Promise<Migration | null> {
  if (!(await schemaVersion(ctx.pool))) return null;
  const known = await findMigration(ctx.pool, file.name);
  return known?.physical && !isOver(known.status) && known.status !== 'COMPLETED' ? known : null;
}

/**
 * Query log → shapes of the application's statements → how each would fare on the overlay and after the swap.
 * @param checked what preflight found, for a migration that has not begun
 * @throws ForeshadowError BAD_MIGRATION_FILE without a query log, LOG_UNREADABLE, and what preflight refuses
 */
export async function reportStatements(
  ctx: Context,
  file: MigrationFile,
  checked: Preflight | null,
): Promise<StatementsReport> {
  if (!file.queryLog)
    throw new ForeshadowError(
      'BAD_MIGRATION_FILE',
      'the statements are read from the query log: set queryLog.path',
    );
  const { plan, source, target, begun } = await subjectOf(ctx, file, checked);
  const { rows } = await ctx.pool.query<{ name: string }>('select current_database() as name');
  await loadParser();
  const sourceName = parseQualifiedName(file.source);
  const targetName = parseQualifiedName(file.target);
  const collector = new ShapeCollector(
    {
      source: {
        schema: sourceName.schema,
        table: sourceName.name,
        searchPath: ['public'],
        columns: source.columns.map((column) => column.name),
      },
      target: {
        schema: targetName.schema,
        table: targetName.name,
        searchPath: ['public'],
        columns: target.columns.map((column) => column.name),
      },
    },
    { database: rows[0]?.name ?? '' },
  );
  for await (const batch of readLog(file.queryLog.path)) collector.take(batch);
  return examineStatements(ctx.pool, {
    plan,
    source,
    target,
    begun,
    real: { source: ident(source.schema, source.name), target: ident(target.schema, target.name) },
    swap: file.cutover.finish === 'swap',
    shapes: collector.shapes(),
  });
}

/**
 * The same for a migration that was planned already, by its name.
 * @throws ForeshadowError MIGRATION_UNKNOWN, CONFLICT after the write cutover, and as {@link reportStatements}
 */
export async function statementsOf(ctx: Context, name: string): Promise<StatementsReport> {
  const { definition, status } = await getMigration(ctx.pool, name);
  const checked = status === 'PLANNED' ? await preflight(ctx.pool, definition) : null;
  return reportStatements(ctx, definition, checked);
}

async function subjectOf(ctx: Context, file: MigrationFile, checked: Preflight | null): Promise<Subject> {
  const migration = await migrationUnderWay(ctx, file);
  if (migration?.physical) {
    const { plan, physical } = migration;
    const [source, target] = await withClient(ctx.pool, async (client) => [
      await readTable(client, physical.source.schema, physical.source.name),
      await readTable(client, 'foreshadow', physical.target.name),
    ]);
    if (!source) throw new ForeshadowError('SOURCE_MISSING', `there is no table ${file.source}`);
    if (!target) throw new ForeshadowError('TARGET_MISSING', `there is no table ${plan.names.target}`);
    return { plan, source, target, begun: true };
  }
  if (checked?.error) throw checked.error;
  const { draft, source, target } = checked ?? {};
  if (!draft || !source || !target)
    throw new ForeshadowError('CONFLICT', `migration ${file.name} is over; its statements have moved`);
  return { plan: physicalPlan(draft, 0, source, target), source, target, begun: false };
}
