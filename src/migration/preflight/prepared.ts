import type { MigrationFile } from '../../config/migration-file.ts';
import type { CatalogColumn, CatalogTable } from '../../db/catalog.ts';
import { type Check, ok, warn } from './checks.ts';

const id = 'prepared statements';

/** Type, modifier and collation: what PostgreSQL compares when it plans a prepared statement anew. */
const sameResult = (a: CatalogColumn, b: CatalogColumn) =>
  a.typeOid === b.typeOid && a.typmod === b.typmod && a.collationOid === b.collationOid;

const typed = ({ type, collation }: CatalogColumn) =>
  collation === null ? type : `${type} collate ${collation}`;

/**
 * After a swap the name of S means T. A session that has prepared a statement over S gets "cached plan must not change
 * result type" from then on, if a column that the statement returns has another type in T, or if it says `*` and the
 * columns are not the same ones in the same order. Only the session itself can prepare it anew.
 */
export function preparedStatements(file: MigrationFile, source: CatalogTable, target: CatalogTable): Check {
  if (file.cutover.finish === 'route')
    return ok(id, 'both tables keep their names, so nobody is handed another table');
  const changed: string[] = [];
  for (const column of source.columns) {
    const now = target.columns.find((candidate) => candidate.name === column.name);
    if (!now || sameResult(column, now)) continue;
    const [from, to] = column.type === now.type ? [typed(column), typed(now)] : [column.type, now.type];
    changed.push(`${column.name} ${from} → ${to}`);
  }
  const names = (table: CatalogTable) => table.columns.map((column) => column.name).join(', ');
  const gone = source.columns.filter((column) => !target.columns.some((each) => each.name === column.name));
  const breaks: string[] = [];
  if (changed.length) breaks.push(`those that return a column whose type changes (${changed.join(', ')})`);
  if (names(source) !== names(target))
    breaks.push('those with "select *" or "returning *", since the columns are others');
  if (gone.length)
    breaks.push(`those that name a column that is gone (${gone.map((each) => each.name).join(', ')})`);
  if (!breaks.length) return ok(id, 'every column keeps its name, place, type and collation');
  return warn(
    id,
    `at the swap, statements that sessions have prepared over ${file.source} will break with "cached plan must not change result type": ${breaks.join('; ')}`,
    'Let the sessions prepare them anew then (DEALLOCATE or DISCARD ALL on that error, or renew the connections of the pool), use unnamed statements, or set cutover.finish to "route".',
  );
}
