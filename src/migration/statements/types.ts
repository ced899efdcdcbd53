import type { Usage } from '../../access/usage.ts';
import type { CatalogColumn, CatalogTable } from '../../db/catalog.ts';

const called = ({ type, collation }: CatalogColumn) =>
  collation === null ? type : `${type} collate ${collation}`;

/** What comparing or sorting by a column means once its type or collation is another one. */
function meaning(from: CatalogColumn, to: CatalogColumn): string {
  if (to.category === 'E') return 'compared and sorted by the order in which the enum lists its labels';
  if (from.type.startsWith('character(') !== to.type.startsWith('character('))
    return 'blanks at the end of a value count on one side, and not on the other';
  if (from.category !== to.category)
    return 'constants and parameters of the old type do not fit, or mean something else';
  if (from.type === to.type) return 'sorted, and perhaps compared, by another collation';
  if (
    /time zone/.test(from.type) !== /time zone/.test(to.type) ||
    from.type.includes('without') !== to.type.includes('without')
  )
    return "a constant without a zone is read in the session's time zone";
  return 'compared as the new type';
}

/**
 * Columns that decide which rows a statement gets, and whose type or collation changes; and parameters that PostgreSQL
 * would give another type, which drivers that send types of their own must know.
 */
export function typeChanges(
  usage: Usage,
  source: CatalogTable,
  target: CatalogTable,
  parameters: { readonly before: readonly string[]; readonly after: readonly string[] },
): string[] {
  const found: string[] = [];
  for (const name of usage.decisive) {
    const from = source.columns.find((column) => column.name === name);
    const to = target.columns.find((column) => column.name === name);
    if (!from || !to) continue;
    const same = from.typeOid === to.typeOid && from.collationOid === to.collationOid;
    if (!same) found.push(`${name} ${called(from)} → ${called(to)}: ${meaning(from, to)}`);
  }
  parameters.before.forEach((type, i) => {
    const now = parameters.after[i];
    if (now !== undefined && now !== type) found.push(`parameter $${i + 1} ${type} → ${now}`);
  });
  return found;
}
