import type { Obstacle, Usage } from '../../access/usage.ts';

/** What a view in the place of a table cannot do for a statement. */
export const obstacles: Readonly<Record<Obstacle, string>> = {
  write: 'it writes, and writes stay on the source until the swap',
  onConflict: 'ON CONFLICT needs a unique index, which a view has not',
  merge: 'MERGE writes, and writes stay on the source until the swap',
  truncate: 'TRUNCATE of the source is refused while the migration runs',
  rowLock:
    'FOR UPDATE / FOR SHARE on the overlay is refused: on a view of three branches it would lock nothing',
  lockTable: 'LOCK TABLE on the overlay does not keep writers of the source out',
  systemColumn: 'a view has no system columns (ctid, xmin, tableoid …)',
  sample: 'TABLESAMPLE needs a table',
  currentOf: 'WHERE CURRENT OF needs a cursor on the table itself',
  copy: 'COPY needs a table: COPY (SELECT …) TO reads a view',
};

/** The statement with another relation in the table's place; `relation` is SQL, quoted. */
export function withRelation(usage: Pick<Usage, 'sql' | 'places'>, relation: string): string {
  let { sql } = usage;
  for (const { start, end, alias } of [...usage.places].sort((a, b) => b.start - a.start)) {
    const as = alias === null ? '' : ` as "${alias.replaceAll('"', '""')}"`;
    sql = `${sql.slice(0, start)}${relation}${as}${sql.slice(end)}`;
  }
  return sql;
}
