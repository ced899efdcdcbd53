import type { ClientBase, Pool } from 'pg';
import { type CatalogTable, keyIndexes } from '../../db/catalog.ts';
import { ident } from '../../db/ident.ts';

/** One partition of the target. It stays in its own schema, under its own name, before, during and after a migration. */
export interface Partition {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly persistence: string;
  /** `FOR VALUES …` or `DEFAULT` */
  readonly bound: string;
  /** row security, triggers or unique indexes of its own: things that the other partitions do not have */
  readonly own: readonly string[];
}

/** The partitions of a table, by name; none when it is a plain table. */
export async function partitionsOf(db: ClientBase | Pool, oid: number): Promise<Partition[]> {
  const { rows } = await (db as Pool).query<Partition>(
    `select c.oid::int8::float8 as oid, n.nspname as schema, c.relname as name, c.relkind as kind,
            c.relpersistence as persistence, pg_get_expr(c.relpartbound, c.oid) as bound,
            array(select 'row security' where c.relrowsecurity
                  union all
                  select 'trigger ' || g.tgname from pg_trigger g
                   where g.tgrelid = c.oid and not g.tgisinternal and g.tgparentid = 0
                  union all
                  select 'unique index ' || i.relname from pg_index x join pg_class i on i.oid = x.indexrelid
                   where x.indrelid = c.oid and (x.indisunique or x.indisexclusion) and not i.relispartition
                  union all
                  select 'rule ' || r.rulename from pg_rewrite r where r.ev_class = c.oid) as own
       from pg_inherits h join pg_class c on c.oid = h.inhrelid join pg_namespace n on n.oid = c.relnamespace
      where h.inhparent = $1 and c.relispartition order by n.nspname, c.relname`,
    [oid],
  );
  return rows;
}

/** What a partitioned target must not have, one reason each; empty for a plain table. */
export async function refusedPartitions(
  client: ClientBase,
  target: CatalogTable,
  source: CatalogTable,
): Promise<string[]> {
  if (target.kind !== 'p') return [];
  const partitions = await partitionsOf(client, target.oid);
  const refused: string[] = [];
  if (!partitions.length) refused.push('it has no partition to write to');
  for (const { schema, name, kind, persistence, own } of partitions) {
    const called = `partition ${schema}.${name}`;
    if (kind !== 'r')
      refused.push(
        `${called} is not a plain table: partitions of partitions, and foreign ones, are not supported`,
      );
    if (persistence !== 'p') refused.push(`${called} is temporary or unlogged`);
    for (const what of own) refused.push(`${called} has ${what} of its own`);
  }
  const { rows } = await client.query<{ name: string }>(
    `select i.relname as name from pg_index x join pg_class i on i.oid = x.indexrelid
      where x.indrelid = $1 and x.indisunique order by x.indisprimary desc, i.relname`,
    [target.oid],
  );
  // It would have to wait for the end of the copy, and a partitioned table cannot take over an index that is built then.
  for (const { name } of rows.slice(1))
    refused.push(
      `unique index ${name} beside its key: on a partitioned target, build it after the migration`,
    );
  const { rows: version } = await client.query<{ num: number }>(
    "select current_setting('server_version_num')::int as num",
  );
  const numbered = source.columns.find(
    (column) => column.identity && target.columns.some((same) => same.name === column.name),
  );
  if (numbered && (version[0]?.num ?? 0) < 170_000)
    refused.push(
      `column "${numbered.name}" cannot go on as an identity: partitioned tables have none before PostgreSQL 17`,
    );
  const keys = await client.query<{ name: string }>(
    "select conname as name from pg_constraint where conrelid = $1 and contype = 'f' order by 1",
    [source.oid],
  );
  if ((version[0]?.num ?? 0) < 180_000)
    for (const { name } of keys.rows)
      refused.push(
        `foreign key ${name} cannot go along: before PostgreSQL 18 a partitioned table takes none without looking at every row`,
      );
  return refused;
}

/** Unique indexes of S that nothing will stand for after the swap, because a partitioned table cannot take them over. */
export async function lostUniqueIndexes(
  client: ClientBase,
  source: CatalogTable,
  target: CatalogTable,
  key: readonly string[],
): Promise<string[]> {
  if (target.kind !== 'p') return [];
  const { rows } = await client.query<{ name: string; columns: string[] | null }>(
    `select i.relname as name,
            (select array_agg(a.attname::text order by k.ord) from unnest(x.indkey::int2[]) with ordinality k(attnum, ord)
               left join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum where k.ord <= x.indnkeyatts) as columns
       from pg_index x join pg_class i on i.oid = x.indexrelid where x.indrelid = $1 and x.indisunique order by 1`,
    [source.oid],
  );
  const kept = [key, ...(await keyIndexes(client, target.oid)).map((index) => index.columns)];
  const same = (columns: readonly string[] | null) =>
    kept.some((each) => each.join('\0') === columns?.join('\0'));
  return rows.filter(({ columns }) => !same(columns)).map(({ name }) => name);
}

/**
 * A temporary table with the target's columns, checks and unique indexes, and partitions with its bounds: a row that
 * belongs to none of them must be refused in a rehearsal too.
 */
export async function likeTargetSql(
  client: ClientBase,
  target: CatalogTable,
  name: string,
): Promise<string[]> {
  const like = `create temp table ${name} (like ${ident(target.schema, target.name)}
    including constraints including indexes including generated)`;
  if (target.kind !== 'p') return [like];
  const { rows } = await client.query<{ key: string }>('select pg_get_partkeydef($1::oid) as key', [
    target.oid,
  ]);
  const partitions = await partitionsOf(client, target.oid);
  return [
    `${like} partition by ${rows[0]?.key}`,
    ...partitions.map(
      ({ bound }, i) => `create temp table ${name}_${i + 1} partition of pg_temp.${name} ${bound}`,
    ),
  ];
}
