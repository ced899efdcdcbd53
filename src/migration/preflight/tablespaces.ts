import type { ClientBase } from 'pg';
import type { CatalogTable } from '../../db/catalog.ts';
import { type Check, warn } from './checks.ts';

interface Place {
  /** quoted, with its schema */
  readonly name: string;
  readonly space: string;
}

const nameSql = `format('%I.%I', n.nspname, c.relname)`;
/** 0 stands for the database's own. */
const spaceSql = `coalesce((select quote_ident(spcname) from pg_tablespace where oid = nullif(c.reltablespace, 0)),
  (select quote_ident(spcname) from pg_tablespace p join pg_database d on d.dattablespace = p.oid where d.datname = current_database()))`;

/**
 * A table stays where it was made, which is the target's own business, and indexes are built in the database's default
 * tablespace. Where that moves something from its place it is said, with the command that undoes it: while the target is
 * empty that costs nothing, and an index can be moved online.
 */
export async function tablespaceChecks(
  client: ClientBase,
  source: CatalogTable,
  target: CatalogTable,
): Promise<Check[]> {
  const tables = await client.query<Place & { theirs: string }>(
    `with source as (select ${spaceSql} as space from pg_class c where c.oid = $1)
     select ${nameSql} as name, ${spaceSql} as space, source.space as theirs
       from source, pg_class c join pg_namespace n on n.oid = c.relnamespace
      where (c.oid = $2 or c.oid in (select inhrelid from pg_inherits where inhparent = $2)) and c.relkind = 'r'
        and ${spaceSql} <> source.space
      order by 1`,
    [source.oid, target.oid],
  );
  const indexes = await client.query<Place & { ours: boolean }>(
    `select ${nameSql} as name, ${spaceSql} as space, x.indrelid = $2 as ours
       from pg_index x join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace
      where c.reltablespace <> 0 and c.relkind = 'i' and (x.indrelid = $1 or (x.indrelid = $2 and x.indisunique and not x.indisprimary))
      order by 3, 1`,
    [source.oid, target.oid],
  );
  const id = 'tablespace';
  return [
    ...tables.rows.map(({ name, space, theirs }) =>
      warn(
        id,
        `${name} is in tablespace ${space}, the source in ${theirs}`,
        `To put it there while it is empty: alter table ${name} set tablespace ${theirs}`,
      ),
    ),
    ...indexes.rows.map(({ name, space, ours }) =>
      warn(
        id,
        ours
          ? `unique index ${name} is in tablespace ${space}; after the copy it is built anew, in the database's own`
          : `index ${name} is in tablespace ${space}; if it goes along, it is built in the database's own`,
        `After the write cutover: reindex (concurrently, tablespace ${space}) index NAME, by the name that it has then.`,
      ),
    ),
  ];
}
