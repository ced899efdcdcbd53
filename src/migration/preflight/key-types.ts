import type { ClientBase } from 'pg';
import type { CatalogTable } from '../../db/catalog.ts';

/** Column name → why it cannot be in a key. */
export type UnusableColumns = ReadonlyMap<string, string>;

/**
 * Our statements compare keys with `=`, which in our sessions is pg_catalog's, and with DISTINCT ON, indexes and ON CONFLICT,
 * which take the equality of the type's default operator class. For a type of an extension these may be two: citext's own
 * ignores case, and the `=` that its cast to text finds does not. Arrays and composites hold NULLs and lengths that a key's
 * statements do not ask about.
 */
export async function unusableInKeys(client: ClientBase, table: CatalogTable): Promise<UnusableColumns> {
  const { rows } = await client.query<{
    name: string;
    type: string;
    form: string | null;
    equality: string | null;
  }>(
    `with recursive base (name, type, oid) as (
       select a.attname::text, format_type(a.atttypid, a.atttypmod), a.atttypid
         from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
       union all
       select b.name, b.type, t.typbasetype from base b join pg_type t on t.oid = b.oid where t.typtype = 'd')
     select b.name, b.type, case when t.typcategory = 'A' then 'an array' when t.typtype = 'c' then 'a composite' end as form,
            (select e.amopopr::regoperator::text
               from pg_opclass o
               join pg_amop e on e.amopfamily = o.opcfamily and e.amopstrategy = 3
                             and e.amoplefttype = t.oid and e.amoprighttype = t.oid
               join pg_operator q on q.oid = e.amopopr
              where o.opcmethod = (select oid from pg_am where amname = 'btree') and o.opcdefault and o.opcintype = t.oid
                and q.oprnamespace <> 'pg_catalog'::regnamespace) as equality
       from base b join pg_type t on t.oid = b.oid where t.typtype <> 'd'`,
    [table.oid],
  );
  const unusable = rows.filter(({ form, equality }) => form !== null || equality !== null);
  return new Map(
    unusable.map(({ name, type, form, equality }) => {
      const column = `column "${name}" (${type}) of ${table.schema}.${table.name} cannot be in the key`;
      const why =
        form === null
          ? `its type has an equality of its own, ${equality}; use another key, or a key column of type text, with lower() in the map and in what the application writes if case is not to count`
          : `its type is ${form}; use a key of plain columns`;
      return [name, `${column}: ${why}`];
    }),
  );
}
