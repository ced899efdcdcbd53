import type { ClientBase } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import { cannot, type Handover, handOver, lacks } from './handover.ts';
import { finalName, type Move, takesName } from './move.ts';

/**
 * `places (oid, name, whole)`: the new table ($2, $3) and its partitions, which hold the rows of a partitioned one. That
 * is `whole`, and takes no settings of storage.
 */
const placesSql = `places as (
       select oid, $3::text as name, relkind = 'p' as whole from pg_class where oid = $2
       union all
       select p.oid, format('%I.%I', n.nspname, p.relname), false
         from pg_inherits h join pg_class p on p.oid = h.inhrelid and p.relispartition join pg_namespace n on n.oid = p.relnamespace
        where h.inhparent = $2)`;

/**
 * Settings of the table and of its columns, each only where the new table says nothing of its own: it is the new format,
 * and was made on purpose. Those that shape rows on disk (storage, compression, fillfactor) count for new rows.
 */
export async function settingsSql(client: ClientBase, move: Move): Promise<string[]> {
  const { rows } = await client.query<{ sql: string }>(
    prepared(
      `with ${placesSql},
     both_classes as (select p.name, s, t, st.reloptions as s_toast, tt.reloptions as t_toast
         from places p join pg_class t on t.oid = p.oid left join pg_class tt on tt.oid = t.reltoastrelid,
              pg_class s left join pg_class st on st.oid = s.reltoastrelid
        where s.oid = $1 and not p.whole),
     options (name, option, theirs) as (
       select name, unnest((s).reloptions), coalesce((t).reloptions, '{}') from both_classes
       union all select name, 'toast.' || o, array(select 'toast.' || x from unnest(coalesce(t_toast, '{}')) x) from both_classes, unnest(s_toast) o),
     all_columns as (
       select p.oid = $2 as own, p.name, a as s, b as t, y.typstorage
         from places p join pg_attribute b on b.attrelid = p.oid and not b.attisdropped join pg_attribute a on a.attname = b.attname
         join pg_type y on y.oid = b.atttypid
        where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped),
     both_columns as (select * from all_columns where own)
     select format('alter table %s set (%s = %L)', name, split_part(option, '=', 1), substr(option, strpos(option, '=') + 1)) as sql
       from options where not exists (select from unnest(theirs) x where split_part(x, '=', 1) = split_part(option, '=', 1))
     union all
     select format('alter table %s alter column %I set statistics %s', name, (s).attname, (s).attstattarget)
       from both_columns where coalesce((s).attstattarget, -1) >= 0 and coalesce((t).attstattarget, -1) < 0
     union all
     -- by name: newer servers keep a version number of their own among these
     select format('alter table %s alter column %I set (%s)', name, (s).attname, o)
       from both_columns, unnest((s).attoptions) o
      where o ~ '^n_distinct(_inherited)?=' and not exists (
        select from unnest((t).attoptions) theirs where split_part(theirs, '=', 1) = split_part(o, '=', 1))
     union all
     select format('alter table %s alter column %I set storage %s', name, (s).attname,
              case (s).attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end)
       from both_columns where (s).atttypid = (t).atttypid and (s).attstorage <> typstorage and (t).attstorage = typstorage
     union all
     -- the one of these that a partitioned table keeps to itself
     select format('alter table %s alter column %I set compression %s', name, (s).attname,
              case (s).attcompression when 'l' then 'lz4' else 'pglz' end)
       from all_columns where (s).atttypid = (t).atttypid and (s).attcompression <> '' and (t).attcompression = ''`,
      [move.from.oid, move.to.oid, finalName(move)],
    ),
  );
  return rows.map(({ sql }) => sql);
}

interface ByIndex {
  use: 'replica identity' | 'cluster';
  wanted: string;
  columns: string[];
  /** the new table's own index on the same columns, or the one that was built for it */
  there: string | null;
  /** the new table takes over unique indexes; a partitioned one does not */
  takes: boolean;
}

/** An index of the table that something else goes by, and the new table's index on the same columns. */
const byIndexSql = (wanted: string) => `
  select i.relname as wanted, k.columns, (select relkind <> 'p' from pg_class where oid = $2) as takes,
         (select j.relname from pg_index t join pg_class j on j.oid = t.indexrelid
           where t.indrelid = $2 and t.indisvalid and t.indexprs is null and t.indpred is null and t.indisunique = x.indisunique and t.indimmediate
             and k.columns = array(select a.attname::text from unnest(t.indkey::int2[]) with ordinality n(n, ord)
                   join pg_attribute a on a.attrelid = $2 and a.attnum = n.n where n.ord <= t.indnkeyatts order by n.ord)
           order by t.indisprimary desc, j.relname limit 1) as there
    from pg_index x join pg_class i on i.oid = x.indexrelid
    cross join lateral (select array(select a.attname::text from unnest(x.indkey::int2[]) with ordinality n(n, ord)
                   join pg_attribute a on a.attrelid = $1 and a.attnum = n.n where n.ord <= x.indnkeyatts order by n.ord) as columns) k
   where x.indrelid = $1 and ${wanted}`;

interface Place {
  name: string;
  whole: boolean;
  /** replica identities: the old table's, and its own */
  wanted: string;
  identity: string;
  clustered: boolean;
  /** of a partition: its own index, by that of the whole table */
  indexes: Record<string, string> | null;
}

/** The new table first, then its partitions. */
async function placesOf(client: ClientBase, move: Move): Promise<Place[]> {
  const { rows } = await client.query<Place>(
    `with ${placesSql}
     select p.name, p.whole, s.relreplident as wanted, c.relreplident as identity,
            exists (select from pg_index x where x.indrelid = p.oid and x.indisclustered) as clustered,
            (select json_object_agg(w.relname, i.relname)
               from pg_index x join pg_class i on i.oid = x.indexrelid join pg_inherits h on h.inhrelid = i.oid join pg_class w on w.oid = h.inhparent
              where x.indrelid = p.oid) as indexes
       from places p join pg_class c on c.oid = p.oid join pg_class s on s.oid = $1 order by p.oid <> $2, p.name`,
    [move.from.oid, move.to.oid, finalName(move)],
  );
  return rows;
}

/**
 * Replica identity, and the index that CLUSTER goes by, where the new table has the default. By the names that indexes have
 * before those of the old table are given to them. Logical decoding goes by what each partition says.
 */
export async function identitySql(client: ClientBase, move: Move): Promise<string[]> {
  const one = async (wanted: string) =>
    (await client.query<ByIndex>(byIndexSql(wanted), [move.from.oid, move.to.oid])).rows[0]?.there ?? null;
  const places = await placesOf(client, move);
  const { wanted, identity, clustered } = places[0] as Place;
  const replica = identity === 'd' && wanted === 'i' ? await one('x.indisreplident') : null;
  const cluster = clustered ? null : await one('x.indisclustered');
  return places.flatMap((place) => {
    const alter = (what: string) => `alter table ${place.name} ${what}`;
    const own = (index: string | null) => index && (place.indexes ? place.indexes[index] : index);
    const sql: string[] = [];
    if (identity === 'd' && place.identity === 'd') {
      if (wanted === 'f') sql.push(alter('replica identity full'));
      if (wanted === 'n') sql.push(alter('replica identity nothing'));
      const index = own(replica);
      if (index) sql.push(alter(`replica identity using index ${ident(index)}`));
    }
    const index = own(cluster);
    if (index && !place.whole && !place.clustered) sql.push(alter(`cluster on ${ident(index)}`));
    return sql;
  });
}

/** The name of a replica identity index that the new table will have no match for; null when all is well. */
export async function lostReplicaIdentity(client: ClientBase, move: Move): Promise<string | null> {
  const { rows } = await client.query<ByIndex>(
    `${byIndexSql('x.indisreplident')} and exists (select from pg_class t where t.oid = $2 and t.relreplident = 'd')`,
    [move.from.oid, move.to.oid],
  );
  // an index that only the old table has is carried if its columns are kept
  const carried = ({ takes, columns }: ByIndex) => takes && lacks(columns, move.kept) === null;
  return rows.find((index) => index.there === null && !carried(index))?.wanted ?? null;
}

interface Statistics {
  catalog: string;
  oid: number;
  object: string;
  name: string;
  definition: string;
  columns: string[];
  owner: string;
  target: number;
  comment: string | null;
  owned: boolean;
}

/** Extended statistics have a name in a schema of their own: the old object goes, and one like it comes. */
export async function statisticsHandovers(client: ClientBase, move: Move): Promise<Handover[]> {
  const { rows } = await client.query<Statistics>(
    `select 'pg_statistic_ext' as catalog, x.oid::int8::float8 as oid, pg_describe_object('pg_statistic_ext'::regclass, x.oid, 0) as object,
            format('%I.%I', n.nspname, x.stxname) as name, pg_get_statisticsobjdef(x.oid) as definition,
            quote_ident(pg_get_userbyid(x.stxowner)) as owner, coalesce(x.stxstattarget, -1) as target,
            obj_description(x.oid, 'pg_statistic_ext') as comment, pg_has_role(x.stxowner, 'USAGE') as owned,
            array(select a.attname::text from pg_depend d
                    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                   where d.classid = 'pg_statistic_ext'::regclass and d.objid = x.oid
                     and d.refclassid = 'pg_class'::regclass and d.refobjid = $1 and d.refobjsubid > 0) as columns
       from pg_statistic_ext x join pg_namespace n on n.oid = x.stxnamespace where x.stxrelid = $1 order by x.stxname`,
    [move.from.oid],
  );
  return rows.map((found) => {
    const refused =
      lacks(found.columns, move.to.columns) ??
      (found.owned ? null : `this role must own ${found.object}`) ??
      (takesName(move) ? null : 'with finish "route" the old table keeps its statistics under that name');
    if (refused !== null) return cannot(found, refused);
    const after = [found.definition, `alter statistics ${found.name} owner to ${found.owner}`];
    if (found.target >= 0) after.push(`alter statistics ${found.name} set statistics ${found.target}`);
    if (found.comment !== null)
      after.push(`comment on statistics ${found.name} is ${literal(found.comment)}`);
    const settle = [`analyze ${finalName(move)}`];
    return handOver(found, { before: [`drop statistics ${found.name}`], after, settle });
  });
}
