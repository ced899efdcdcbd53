import type { ClientBase } from 'pg';
import type { MappedColumn } from '../../core/plan.ts';
import type { CatalogTable } from '../../db/catalog.ts';
import { ident } from '../../db/ident.ts';

export interface Sizes {
  /** of the source, in bytes: rows with what is stored out of line, and indexes */
  readonly heap: number;
  readonly indexes: number;
}

/** Sizes of a table with its partitions. */
export async function sizesOf(client: ClientBase, oid: number): Promise<Sizes> {
  const { rows } = await client.query<Sizes>(
    `select coalesce(sum(pg_table_size(p.relid)), 0)::float8 as heap, coalesce(sum(pg_indexes_size(p.relid)), 0)::float8 as indexes
       from (select $1::oid as relid union select p.relid from pg_partition_tree($1::oid::regclass) p) p`,
    [oid],
  );
  return rows[0] as Sizes;
}

/** Rows whose widths are compared. */
const measuredRows = 2000;

/**
 * How many times as wide as a source row a target row is, by rows from the beginning of the table. Values that are
 * compressed in the source count as they are stored there, and as f makes them in the target: never too little.
 * @returns null for an empty table
 */
export async function widthRatio(
  client: ClientBase,
  source: CatalogTable,
  columns: readonly MappedColumn[],
): Promise<number | null> {
  const { rows } = await client.query<{ ratio: number | null }>(
    `select (avg(pg_column_size(row(${columns.map(({ value }) => value).join(', ')})))
             / nullif(avg(pg_column_size(row(${source.columns.map(({ name }) => `s.${ident(name)}`).join(', ')}))), 0))::float8 as ratio
       from (select * from ${ident(source.schema, source.name)} limit ${measuredRows}) s`,
  );
  return rows[0]?.ratio ?? null;
}

/** What bounds the WAL that stays on disk, in bytes. */
export interface WalKeeping {
  /** what checkpoints leave, and what is kept for standbys without a slot */
  readonly kept: number;
  /** somebody may keep all of it for longer: slots, or an archive */
  readonly keepers: readonly string[];
  /** of max_slot_wal_keep_size; null: without limit */
  readonly slotKeep: number | null;
}

export async function walKeeping(client: ClientBase): Promise<WalKeeping> {
  const { rows } = await client.query<WalKeeping>(
    `select (pg_size_bytes(current_setting('max_wal_size')) + pg_size_bytes(current_setting('wal_keep_size')))::float8 as kept,
            array(select 'replication slot ' || s.slot_name from pg_replication_slots s order by s.slot_name)
            || case when current_setting('archive_mode') <> 'off' then array['the archive'] else '{}' end as keepers,
            (select nullif(setting, '-1')::float8 * 1048576 from pg_settings where name = 'max_slot_wal_keep_size') as "slotKeep"`,
  );
  return rows[0] as WalKeeping;
}

export interface Directories {
  /** where the target's rows go, and where the write-ahead log goes */
  readonly data: string;
  readonly wal: string;
}

/** Directories on the server, when it is on this machine and this role may know them; null otherwise. */
export async function localDirectories(client: ClientBase, targetOid: number): Promise<Directories | null> {
  const { rows } = await client.query<{ local: boolean; base: string | null; tablespace: string | null }>(
    `select coalesce(inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1', true) as local,
            (select setting from pg_settings where name = 'data_directory') as base,
            (select nullif(pg_tablespace_location(c.reltablespace), '') from pg_class c
              where c.oid = $1 and c.reltablespace <> 0) as tablespace`,
    [targetOid],
  );
  const { local, base, tablespace } = rows[0] as (typeof rows)[0];
  return local && base ? { data: tablespace ?? base, wal: `${base}/pg_wal` } : null;
}
