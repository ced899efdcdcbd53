import type { MigrationFile } from '../../config/migration-file.ts';
import { ForeshadowError } from '../../core/errors.ts';
import type { MappedColumn, TablePlan } from '../../core/plan.ts';
import type { CatalogColumn, CatalogTable, KeyIndex } from '../../db/catalog.ts';
import { ident } from '../../db/ident.ts';
import { replaceColumns } from './expression.ts';
import type { UnusableColumns } from './key-types.ts';

export function keyColumn(table: CatalogTable, name: string): { name: string; type: string } {
  return { name, type: (table.columns.find((column) => column.name === name) as { type: string }).type };
}

/** The first reason why columns cannot be in a key. */
function refusedKey(columns: readonly string[], unusable: UnusableColumns): ForeshadowError | null {
  const column = columns.find((name) => unusable.has(name));
  return column === undefined
    ? null
    : new ForeshadowError('NO_KEY', unusable.get(column) as string, { column });
}

/** The key that the migration file names. */
export function sourceKeyOf(
  file: MigrationFile,
  indexes: readonly KeyIndex[],
  unusable: UnusableColumns,
): KeyIndex | ForeshadowError {
  const same = indexes.find((index) => index.columns.join('\0') === file.key.join('\0'));
  if (same) return refusedKey(same.columns, unusable) ?? same;
  const usable = indexes.map((index) => `[${index.columns.join(', ')}]`).join(' or ') || 'none';
  return new ForeshadowError(
    'NO_KEY',
    `${file.source} has no key on [${file.key.join(', ')}]; usable, in this order of columns: ${usable}`,
  );
}

/** The first unique index of the target all of whose columns can be in a key, and come from source key columns alone. */
export function targetKeyOf(
  file: MigrationFile,
  columns: readonly MappedColumn[],
  indexes: readonly KeyIndex[],
  source: CatalogTable,
  sourceKey: readonly string[],
  unusable: UnusableColumns,
): TablePlan['targetKey'] | ForeshadowError {
  let refused: ForeshadowError | null = null;
  for (const index of indexes) {
    const mapped = index.columns.map((name) => columns.find((column) => column.name === name));
    const fits = mapped.every(
      (column) => column?.reads.length && column.reads.every((read) => sourceKey.includes(read)),
    );
    const whole = sourceKey.every((name) => mapped.some((column) => column?.reads.includes(name)));
    if (fits && whole) {
      const unfit = refusedKey(index.columns, unusable);
      if (unfit) {
        refused ??= unfit;
        continue;
      }
      return (mapped as MappedColumn[]).map(({ name, type, value }) => ({
        name,
        type,
        value,
        ofParameters: ofParameters(value, source, sourceKey),
        ofColumns: replaceColumns(value, (column) => ident(column)),
      }));
    }
  }
  if (refused) return refused;
  return new ForeshadowError(
    'NO_KEY',
    `${file.target} has no primary key, or unique index over not-null columns, that comes from [${sourceKey.join(', ')}] alone`,
  );
}

/** The collation of its database, which a parameter has by itself. */
const defaultCollation = 100;

/**
 * The value over parameters. A parameter has its type's collation and not that of the column, so where a key column has one of
 * its own, a subquery gives it back: by COLLATE alone it would count for more than a column's does.
 */
function ofParameters(value: string, source: CatalogTable, sourceKey: readonly string[]): string {
  const columns = sourceKey.map((name, i) => {
    const { collation, collationOid } = source.columns.find(
      (column) => column.name === name,
    ) as CatalogColumn;
    const collated = collation !== null && collationOid !== defaultCollation;
    return { collated, sql: `$${i + 1}${collated ? ` collate ${collation}` : ''} as ${ident(name)}` };
  });
  return columns.some(({ collated }) => collated)
    ? `(select ${value} from (select ${columns.map(({ sql }) => sql).join(', ')}) s)`
    : replaceColumns(value, (column) => `$${sourceKey.indexOf(column) + 1}`);
}
