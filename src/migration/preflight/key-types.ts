import type { ClientBase } from 'pg';
import type { CatalogTable } from '../../db/catalog.ts';

/** Column name → why it cannot be in a key. */
export type UnusableColumns = ReadonlyMap<string, string>;

interface KeyType {
  readonly name: string;
  readonly type: string;
  /** what its base type is, if it is made of others */
  readonly form: string | null;
  /** the equality of its base type's default operator class, if that is none of pg_catalog's */
  readonly equality: string | null;
  /** the collation of its type, if the column has another one */
  readonly collation: string | null;
}

/**
 * Our statements compare keys with `=`, which in our sessions is pg_catalog's, and with DISTINCT ON, indexes and ON CONFLICT,
 * which take the equality of the type's default operator class. For a type of an extension these may be two: citext's own
 * ignores case, and the `=` that its cast to text finds does not. Arrays and composites hold NULLs and dimensions that the
 * statements about keys do not ask about. And a bound of a key range has the collation of its type: where a domain brings
 * one and the column has another, ranges would be cut in another order than keys are read in.
 */
export async function unusableInKeys(client: ClientBase, table: CatalogTable): Promise<UnusableColumns> {
  const { rows } = await client.query<KeyType>(
    `with recursive base (attnum, oid) as (
       select a.attnum, a.atttypid from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
       union all
       select b.attnum, t.typbasetype from base b join pg_type t on t.oid = b.oid where t.typtype = 'd')
     select a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
            case when t.typcategory = 'A' then 'an array' when t.typtype = 'c' then 'a composite' end as form,
            (select e.amopopr::regoperator::text
               from pg_opclass o
               join pg_am m on m.oid = o.opcmethod and m.amname = 'btree'
               join pg_amop e on e.amopfamily = o.opcfamily and e.amopstrategy = 3
                             and e.amoplefttype = t.oid and e.amoprighttype = t.oid
               join pg_operator q on q.oid = e.amopopr and q.oprnamespace <> 'pg_catalog'::regnamespace
              where o.opcdefault and o.opcintype = t.oid) as equality,
            -- 0: none; 100: that of the database, which gives way to any other
            case when c.typcollation not in (0, 100, a.attcollation) then c.typcollation::regcollation::text end as collation
       from base b
       join pg_type t on t.oid = b.oid and t.typtype <> 'd'
       join pg_attribute a on a.attrelid = $1 and a.attnum = b.attnum
       join pg_type c on c.oid = a.atttypid`,
    [table.oid],
  );
  const unusable = rows.flatMap((column) => {
    const why = whyUnusable(column);
    const message = `column "${column.name}" (${column.type}) of ${table.schema}.${table.name} cannot be in the key: ${why}`;
    return why === null ? [] : [[column.name, message] as const];
  });
  return new Map(unusable);
}

function whyUnusable({ form, equality, collation }: KeyType): string | null {
  if (form !== null) return `its type is ${form}; use a key of plain columns`;
  if (equality !== null)
    return `its type has an equality of its own, ${equality}; use another key (for citext: a column of type text that holds lower() of it, unique and NOT NULL)`;
  if (collation !== null)
    return `its collation is not its type's, ${collation}; use another key, or give the column that collation`;
  return null;
}
