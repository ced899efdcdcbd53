import type { ClientBase } from 'pg';
import { ForeshadowError } from '../../core/errors.ts';
import type { CatalogTable } from '../../db/catalog.ts';

interface Dependent {
  description: string;
  kind: string;
}

/**
 * Everything that is bound to a table by its OID and would stay with the old table at the swap (or follow the target
 * into our schema). What the swap carries is left out; what is left is refused by name, unknown kinds included.
 */
async function dependents(client: ClientBase, table: CatalogTable): Promise<Dependent[]> {
  const { rows } = await client.query<Dependent>(
    `with of_table as (
       select d.classid, d.objid, d.objsubid, d.deptype
         from pg_depend d
        where d.refclassid = 'pg_class'::regclass and d.refobjid = $1
       union
       -- things that use the table's row type: columns, function arguments, other types
       select d.classid, d.objid, d.objsubid, d.deptype
         from pg_depend d
         join pg_type t on t.oid = d.refobjid and (t.typrelid = $1 or t.typelem in (select oid from pg_type where typrelid = $1))
        where d.refclassid = 'pg_type'::regclass and not (d.classid = 'pg_type'::regclass and d.deptype = 'i')
     )
     select distinct pg_describe_object(d.classid, d.objid, d.objsubid) as description,
            case
              when d.classid = 'pg_rewrite'::regclass then 'view or rule'
              when d.classid = 'pg_constraint'::regclass then 'constraint'
              else replace(d.classid::regclass::text, 'pg_', '')
            end as kind
       from of_table d
       left join pg_class rel on d.classid = 'pg_class'::regclass and rel.oid = d.objid
       left join pg_constraint con on d.classid = 'pg_constraint'::regclass and con.oid = d.objid
       left join pg_trigger trg on d.classid = 'pg_trigger'::regclass and trg.oid = d.objid
      where not (d.classid = 'pg_class'::regclass and rel.relkind in ('i', 'I', 't'))
        and not (d.classid = 'pg_class'::regclass and rel.relispartition)
        and not (d.classid = 'pg_class'::regclass and rel.relkind = 'S' and d.deptype in ('a', 'i'))
        and not (d.classid = 'pg_class'::regclass and d.objid = $1)
        and not (d.classid = 'pg_constraint'::regclass and con.contype in ('p', 'u', 'c', 'n') and con.conrelid = $1
                 -- a temporal key (WITHOUT OVERLAPS) is an exclusion constraint at heart: ON CONFLICT cannot use it
                 and not exists (select 1 from pg_index x where x.indexrelid = con.conindid and x.indisexclusion))
        and d.classid <> 'pg_attrdef'::regclass
        and not (d.classid = 'pg_type'::regclass and d.deptype = 'i')
        and not (d.classid = 'pg_trigger'::regclass and trg.tgisinternal)
      order by 1`,
    [table.oid],
  );
  return rows;
}

/** Publications that take the table in without naming it. */
async function widePublications(client: ClientBase, table: CatalogTable): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select p.pubname as name from pg_publication p
      where not exists (select 1 from pg_publication_rel r where r.prpubid = p.oid and r.prrelid = $3)
        and (p.puballtables or exists (
          select 1 from pg_publication_tables pt
           where pt.pubname = p.pubname and pt.schemaname = $1 and pt.tablename = $2))`,
    [table.schema, table.name, table.oid],
  );
  return rows.map((row) => row.name);
}

/** @returns one error per object that stands in the way, named; empty when the table can be moved */
export async function refusedDependents(
  client: ClientBase,
  table: CatalogTable,
  role: 'source' | 'target',
): Promise<ForeshadowError[]> {
  const name = `${table.schema}.${table.name}`;
  const refuse = (what: string) =>
    new ForeshadowError('DEPENDENT_REFUSED', `${role} ${name}: ${what}`, { table: name, object: what });
  const errors: ForeshadowError[] = [];
  const partitioned = role === 'target' && table.kind === 'p'; // what its partitions may be is asked elsewhere
  if ((table.kind !== 'r' && !partitioned) || table.isPartition)
    errors.push(refuse('is not a plain table (partitioned, partition, view or foreign)'));
  if (table.persistence !== 'p') errors.push(refuse('is temporary or unlogged'));
  if (table.rowSecurity) errors.push(refuse('row security is enabled on it'));
  if (table.replicaIdentity !== 'd') errors.push(refuse('its replica identity is not the default'));
  for (const found of await dependents(client, table))
    errors.push(refuse(`${found.description} depends on it`));
  const inherits = await client.query<{ other: string }>(
    `select case when inhrelid = $1 then inhparent else inhrelid end::regclass::text as other
       from pg_inherits where inhrelid = $1 or (inhparent = $1 and not $2)`,
    [table.oid, partitioned],
  );
  for (const row of inherits.rows) errors.push(refuse(`inheritance with ${row.other}`));
  for (const publication of await widePublications(client, table))
    errors.push(refuse(`publication ${publication} publishes it`));
  const labels = await client.query(
    'select 1 from pg_seclabel where objoid = $1 and classoid = $2::regclass',
    [table.oid, 'pg_class'],
  );
  if (labels.rowCount) errors.push(refuse('it has a security label'));
  return errors;
}
