import type { ClientBase } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import { cannot, type Handover, handOver, lacks } from './handover.ts';
import { finalName, type Move, takesName } from './move.ts';

/**
 * Settings of the table and of its columns, each only where the new table says nothing of its own: it is the new format,
 * and was made on purpose. Those that shape rows on disk (storage, compression, fillfactor) count for new rows.
 */
export async function settingsSql(client: ClientBase, move: Move): Promise<string[]> {
  const { rows } = await client.query<{ sql: string }>(
    prepared(
      `with both_classes as (select s, t, st.reloptions as s_toast, tt.reloptions as t_toast
         from pg_class s left join pg_class st on st.oid = s.reltoastrelid, pg_class t left join pg_class tt on tt.oid = t.reltoastrelid
        where s.oid = $1 and t.oid = $2),
     options (option, theirs) as (
       select unnest((s).reloptions), coalesce((t).reloptions, '{}') from both_classes
       union all select 'toast.' || o, array(select 'toast.' || x from unnest(coalesce(t_toast, '{}')) x) from both_classes, unnest(s_toast) o),
     both_columns as (
       select a as s, b as t, y.typstorage from pg_attribute a join pg_attribute b on b.attrelid = $2 and b.attname = a.attname and not b.attisdropped
         join pg_type y on y.oid = b.atttypid
        where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped)
     select format('alter table %s set (%s = %L)', $3::text, split_part(option, '=', 1), substr(option, strpos(option, '=') + 1)) as sql
       from options where not exists (select from unnest(theirs) x where split_part(x, '=', 1) = split_part(option, '=', 1))
     union all
     select format('alter table %s alter column %I set statistics %s', $3::text, (s).attname, (s).attstattarget)
       from both_columns where coalesce((s).attstattarget, -1) >= 0 and coalesce((t).attstattarget, -1) < 0
     union all
     -- by name: newer servers keep a version number of their own among these
     select format('alter table %s alter column %I set (%s)', $3::text, (s).attname, o)
       from both_columns, unnest((s).attoptions) o
      where o ~ '^n_distinct(_inherited)?=' and not exists (
        select from unnest((t).attoptions) theirs where split_part(theirs, '=', 1) = split_part(o, '=', 1))
     union all
     select format('alter table %s alter column %I set storage %s', $3::text, (s).attname,
              case (s).attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end)
       from both_columns where (s).atttypid = (t).atttypid and (s).attstorage <> typstorage and (t).attstorage = typstorage
     union all
     select format('alter table %s alter column %I set compression %s', $3::text, (s).attname,
              case (s).attcompression when 'l' then 'lz4' else 'pglz' end)
       from both_columns where (s).atttypid = (t).atttypid and (s).attcompression <> '' and (t).attcompression = ''`,
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
}

/** An index of the table that something else goes by, and the new table's index on the same columns. */
const byIndexSql = (wanted: string) => `
  select i.relname as wanted, k.columns,
         (select j.relname from pg_index t join pg_class j on j.oid = t.indexrelid
           where t.indrelid = $2 and t.indisvalid and t.indexprs is null and t.indpred is null and t.indisunique = x.indisunique and t.indimmediate
             and k.columns = array(select a.attname::text from unnest(t.indkey::int2[]) with ordinality n(n, ord)
                   join pg_attribute a on a.attrelid = $2 and a.attnum = n.n where n.ord <= t.indnkeyatts order by n.ord)
           order by t.indisprimary desc, j.relname limit 1) as there
    from pg_index x join pg_class i on i.oid = x.indexrelid
    cross join lateral (select array(select a.attname::text from unnest(x.indkey::int2[]) with ordinality n(n, ord)
                   join pg_attribute a on a.attrelid = $1 and a.attnum = n.n where n.ord <= x.indnkeyatts order by n.ord) as columns) k
   where x.indrelid = $1 and ${wanted}`;

/**
 * Replica identity, and the index that CLUSTER goes by, where the new table has the default. By the names that indexes have
 * before those of the old table are given to them.
 */
export async function identitySql(client: ClientBase, move: Move): Promise<string[]> {
  const table = finalName(move);
  const { rows } = await client.query<{ identity: string; theirs: string; clustered: boolean }>(
    `select s.relreplident as identity, t.relreplident as theirs,
            exists (select from pg_index x where x.indrelid = $2 and x.indisclustered) as clustered
       from pg_class s, pg_class t where s.oid = $1 and t.oid = $2`,
    [move.from.oid, move.to.oid],
  );
  const sql: string[] = [];
  const now = rows[0];
  const one = async (wanted: string) =>
    (await client.query<ByIndex>(byIndexSql(wanted), [move.from.oid, move.to.oid])).rows[0];
  if (now?.theirs === 'd') {
    if (now.identity === 'f') sql.push(`alter table ${table} replica identity full`);
    if (now.identity === 'n') sql.push(`alter table ${table} replica identity nothing`);
    const index = now.identity === 'i' ? await one('x.indisreplident') : undefined;
    if (index?.there) sql.push(`alter table ${table} replica identity using index ${ident(index.there)}`);
  }
  if (now && !now.clustered) {
    const index = await one('x.indisclustered');
    if (index?.there) sql.push(`alter table ${table} cluster on ${ident(index.there)}`);
  }
  return sql;
}

/** The name of a replica identity index that the new table will have no match for; null when all is well. */
export async function lostReplicaIdentity(client: ClientBase, move: Move): Promise<string | null> {
  const { rows } = await client.query<ByIndex>(
    `${byIndexSql('x.indisreplident')} and exists (select from pg_class t where t.oid = $2 and t.relreplident = 'd')`,
    [move.from.oid, move.to.oid],
  );
  // an index that only the old table has is carried if its columns are kept
  return rows.find(({ there, columns }) => there === null && lacks(columns, move.kept))?.wanted ?? null;
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
