import type { ClientBase, Pool } from 'pg';

export interface CatalogColumn {
  readonly name: string;
  readonly number: number;
  /** with modifiers, as format_type prints it */
  readonly type: string;
  readonly typeOid: number;
  readonly typmod: number;
  /** pg_type.typcategory */
  readonly category: string;
  readonly notNull: boolean;
  /** the default as SQL, null when none; generated columns have `generated` instead */
  readonly defaultSql: string | null;
  /** the expression of a generated column, null for any other */
  readonly generated: string | null;
  /** quoted name of the collation, null where the type has none */
  readonly collation: string | null;
  readonly collationOid: number;
  /** '' none, 'a' always, 'd' by default */
  readonly identity: '' | 'a' | 'd';
}

export interface CatalogTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly persistence: string;
  readonly isPartition: boolean;
  readonly rowSecurity: boolean;
  readonly replicaIdentity: string;
  readonly owner: string;
  /** rows as the statistics guess them; -1 when never analysed */
  readonly estimatedRows: number;
  readonly totalBytes: number;
  readonly columns: readonly CatalogColumn[];
}

/** One relation with its columns, or null when there is none of that name. */
export async function readTable(
  client: ClientBase,
  schema: string,
  name: string,
): Promise<CatalogTable | null> {
  const { rows } = await client.query<CatalogTable>(
    `select c.oid::int8::float8 as oid, n.nspname as schema, c.relname as name, c.relkind as kind,
            c.relpersistence as persistence, c.relispartition as "isPartition",
            c.relrowsecurity or c.relforcerowsecurity as "rowSecurity", c.relreplident as "replicaIdentity",
            pg_get_userbyid(c.relowner) as owner, c.reltuples::float8 as "estimatedRows",
            pg_total_relation_size(c.oid)::float8 as "totalBytes",
            (select coalesce(json_agg(json_build_object(
                'name', a.attname, 'number', a.attnum, 'type', format_type(a.atttypid, a.atttypmod),
                'typeOid', a.atttypid::int8, 'typmod', a.atttypmod, 'category', t.typcategory, 'notNull', a.attnotnull,
                'defaultSql', case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end,
                'generated', case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end, 'identity', a.attidentity,
                'collationOid', a.attcollation::int8, 'collation', nullif(a.attcollation, 0)::regcollation::text) order by a.attnum), '[]')
               from pg_attribute a
               join pg_type t on t.oid = a.atttypid
               left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1 and c.relname = $2`,
    [schema, name],
  );
  return rows[0] ?? null;
}

export interface KeyIndex {
  readonly name: string;
  readonly primary: boolean;
  readonly columns: readonly string[];
  /** constraint that owns the index, null for a bare unique index */
  readonly constraint: string | null;
}

/**
 * The indexes that can identify a row: unique, immediate, valid, not partial, plain not-null columns; primary first. Only
 * those with the column's collation and the type's default operator class: another one calls other values equal, or sorts
 * them in another order, than our statements do.
 */
export async function keyIndexes(client: ClientBase, oid: number): Promise<KeyIndex[]> {
  const { rows } = await client.query<KeyIndex>(
    `select i.relname as name, x.indisprimary as primary, con.conname as constraint,
            (select array_agg(a.attname::text order by k.ord)
               from unnest(x.indkey::int2[]) with ordinality k(attnum, ord)
               join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum
              where k.ord <= x.indnkeyatts) as columns
       from pg_index x
       join pg_class i on i.oid = x.indexrelid
       left join pg_constraint con on con.conindid = x.indexrelid and con.contype in ('p', 'u')
      where x.indrelid = $1 and x.indisunique and x.indimmediate and x.indisvalid and x.indpred is null
        and not exists (select 1 from unnest(x.indkey::int2[], x.indcollation::oid[], x.indclass::oid[])
                                        with ordinality k(attnum, collated, class, ord)
                          left join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum
                          left join pg_opclass o on o.oid = k.class
                         where k.ord <= x.indnkeyatts
                           and (k.attnum = 0 or not a.attnotnull or k.collated <> a.attcollation or not o.opcdefault))
      order by x.indisprimary desc, i.relname`,
    [oid],
  );
  return rows;
}

/**
 * What a lane compares before each transaction: columns, name, row security and children of both tables. It changes exactly
 * when our SQL for the table might mean something else. A generated column's expression counts: a new one rewrites every row,
 * and no trigger tells of it.
 */
export function fingerprintSql(oid: number): string {
  return `(select md5(n.nspname || '.' || c.relname || c.relkind::text || c.relrowsecurity::text ||
      c.relhassubclass::text || (
      select string_agg(concat_ws(',', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attcollation,
                                  a.attgenerated, a.attidentity, a.attisdropped,
                                  case when a.attgenerated <> '' then (
                                    select d.adbin::text from pg_catalog.pg_attrdef d
                                     where d.adrelid = a.attrelid and d.adnum = a.attnum) end), ';' order by a.attnum)
        from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0))
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = ${oid})`;
}

/** Above this many rows the statistics' guess serves: counting would read for long. */
const countedRows = 5_000_000;
/** Blocks that are counted in one statement: a snapshot of a fraction of a second. */
const countedBlocks = 8192;

/** Rows of a table with its partitions, a piece at a time: exact while nobody writes, and near enough otherwise. */
export async function countRows(pool: Pool, table: CatalogTable): Promise<number> {
  if (table.estimatedRows > countedRows) return table.estimatedRows;
  const { rows: leaves } = await pool.query<{ name: string; blocks: number }>(
    `select c.oid::regclass::text as name, (pg_relation_size(c.oid) / current_setting('block_size')::int)::float8 as blocks
       from (select $1::oid as relid union select p.relid from pg_partition_tree($1::oid::regclass) p) p
       join pg_class c on c.oid = p.relid and c.relkind <> 'p'`,
    [table.oid],
  );
  let total = 0;
  for (const { name, blocks } of leaves) {
    for (let from = 0; from === 0 || from < blocks; from += countedBlocks) {
      // the last piece is open: blocks that were added meanwhile count too
      const to = from + countedBlocks < blocks ? `and ctid < '(${from + countedBlocks},0)'` : '';
      const { rows } = await pool.query<{ n: number }>(
        `select count(*)::float8 as n from only ${name} where ctid >= '(${from},0)' ${to}`,
      );
      total += rows[0]?.n ?? 0;
    }
  }
  return total;
}
