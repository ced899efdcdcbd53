import type { ClientBase } from 'pg';
import type { Move } from './move.ts';

/** A view, materialized view or function with a SQL body that reads the table, itself or through other views. */
export interface Reader {
  readonly catalog: string;
  readonly oid: number;
  readonly object: string;
  /** OID of the view; 0 for a function */
  readonly relation: number;
  /** relkind, or f for a function */
  readonly kind: 'v' | 'm' | 'f';
  readonly name: string;
  readonly qualified: string;
  readonly owner: string;
  readonly owned: boolean;
  /** OIDs of the table and of those views among these that it reads */
  readonly reads: readonly number[];
  /** what it is made of, every name with its schema */
  readonly definition: string;
  /** the same with the names short that a twin is to stand in for, to be run under `path` */
  readonly short: string;
  readonly path: string;
  /** whether the short names mean what they should */
  readonly visible: boolean;
  readonly options: string | null;
  /** a select list of its columns, all NULL */
  readonly stub: string;
  /** rules beside the one that makes it a view */
  readonly rules: readonly string[];
  /** a function that takes or gives rows of the table */
  readonly row_type: boolean;
}

/** The tree of readers: relations with their distance. What lies in our schema, and the overlay (it reads the gate), is ours. */
const treeSql = `with recursive reached (oid, depth) as (
    select $1::oid, 0
     union
    select r.ev_class, reached.depth + 1
      from reached
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = reached.oid
      join pg_rewrite r on r.oid = d.objid and r.ev_class <> reached.oid
      join pg_class v on v.oid = r.ev_class and v.relnamespace <> coalesce(to_regnamespace('foreshadow'), 0)
     where not exists (select from pg_depend o join pg_class c on c.oid = o.refobjid
                        where o.classid = 'pg_rewrite'::regclass and o.objid = r.oid and o.refclassid = 'pg_class'::regclass
                          and c.relnamespace = to_regnamespace('foreshadow') and c.relname like 'overlay\\_gate\\_%')),
  tree as (select oid, max(depth) as depth from reached group by oid)`;

/** Those nearest to the table first, so that each comes after all that it reads. Functions come last. */
export async function readers(client: ClientBase, move: Move): Promise<Reader[]> {
  const found = await client.query<{ path: string }>(
    // the table's own schema first, so that its name is short
    `${treeSql}, schemas as (select n.nspname, min(tree.depth) as depth
       from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace group by n.nspname)
     select string_agg(quote_ident(nspname), ', ' order by depth, nspname) as path from schemas`,
    [move.from.oid],
  );
  const path = found.rows[0]?.path as string;
  const long = await describe(client, move);
  if (!long.length) return [];
  // Names are short where a relation can be found by the path.
  await client.query(`select set_config('search_path', $1, true)`, [path]);
  const short = await describe(client, move);
  await client.query(`select set_config('search_path', 'pg_catalog', true)`);
  return long.map((reader) => {
    const same = short.find(({ oid, catalog }) => oid === reader.oid && catalog === reader.catalog) as Reader;
    return { ...reader, short: same.definition, path: `pg_temp, ${path}`, visible: same.visible };
  });
}

async function describe(client: ClientBase, move: Move): Promise<Reader[]> {
  const { rows } = await client.query<Reader>(
    `${treeSql}
     select 'pg_rewrite' as catalog, r.oid::int8::float8 as oid,
            pg_catalog.format('%s %I.%I', case c.relkind when 'm' then 'materialized view' else 'view' end, n.nspname, c.relname) as object,
            c.oid::int8::float8 as relation, c.relkind as kind, c.relname as name, pg_catalog.format('%I.%I', n.nspname, c.relname) as qualified,
            pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)) as owner, pg_catalog.pg_has_role(c.relowner, 'USAGE') as owned,
            array(select distinct d.refobjid::int8::float8 from pg_catalog.pg_depend d join tree t on t.oid = d.refobjid
                   where d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_catalog.pg_class'::regclass
                     and d.refobjid <> c.oid) as reads,
            pg_catalog.rtrim(pg_catalog.pg_get_viewdef(c.oid), ';') as definition, pg_catalog.array_to_string(c.reloptions, ', ') as options,
            (select pg_catalog.string_agg(pg_catalog.format('null::%s%s as %I', pg_catalog.format_type(a.atttypid, a.atttypmod),
                       case when a.attcollation <> 0 then ' collate ' || a.attcollation::regcollation::text else '' end, a.attname), ', ' order by a.attnum)
               from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0) as stub,
            array(select x.rulename::text from pg_catalog.pg_rewrite x where x.ev_class = c.oid and x.rulename <> '_RETURN') as rules,
            pg_catalog.pg_table_is_visible(c.oid) and pg_catalog.pg_table_is_visible($1) as visible, false as row_type, tree.depth
       from tree join pg_catalog.pg_class c on c.oid = tree.oid and c.relkind in ('v', 'm')
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       join pg_catalog.pg_rewrite r on r.ev_class = c.oid and r.rulename = '_RETURN'
     union all
     select 'pg_proc', p.oid::int8::float8, pg_catalog.pg_describe_object('pg_catalog.pg_proc'::regclass, p.oid, 0), 0, 'f', p.proname,
            p.oid::regprocedure::text, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(p.proowner)), pg_catalog.pg_has_role(p.proowner, 'USAGE'),
            used.oids, pg_catalog.pg_get_functiondef(p.oid), null, '', '{}', pg_catalog.pg_table_is_visible($1),
            exists (select from pg_catalog.pg_depend d join pg_catalog.pg_type t on t.oid = d.refobjid
                     where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.refclassid = 'pg_catalog.pg_type'::regclass
                       and (t.typrelid = $1 or t.typelem in (select oid from pg_catalog.pg_type where typrelid = $1))), 1000000
       from pg_catalog.pg_proc p
       cross join lateral (select array(select distinct d.refobjid::int8::float8 from pg_catalog.pg_depend d join tree t on t.oid = d.refobjid
                             where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.refclassid = 'pg_catalog.pg_class'::regclass) as oids) used
      where p.prosqlbody is not null and used.oids <> '{}'
      order by depth, qualified`,
    [move.from.oid],
  );
  return rows;
}

/** SQL that gives a view that was dropped and created its owner, grants, comments, column defaults and triggers again. */
export async function viewExtras(client: ClientBase, view: Reader): Promise<string[]> {
  const { rows } = await client.query<{ sql: string }>(
    `select format('alter view %s owner to %s', $2::text, $3::text) as sql
     union all
     -- what ALTER DEFAULT PRIVILEGES has just granted to whoever creates views
     select format('do $grants$ declare g record; begin
              for g in select distinct case grantee when 0 then ''public'' else quote_ident(pg_get_userbyid(grantee)) end as who
                         from pg_class c, aclexplode(c.relacl) where c.oid = %L::regclass and grantee <> c.relowner
              loop execute format(''revoke all on %%s from %%s'', %L, g.who); end loop; end $grants$', $2::text, $2::text)
     union all
     select format('grant %s on %s to %s%s', g.privilege_type, $2::text,
              case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
              case when g.is_grantable then ' with grant option' else '' end)
       from pg_class c, aclexplode(c.relacl) g where c.oid = $1 and g.grantee <> c.relowner
     union all
     select format('grant %s (%I) on %s to %s%s', g.privilege_type, a.attname, $2::text,
              case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
              case when g.is_grantable then ' with grant option' else '' end)
       from pg_attribute a, aclexplode(a.attacl) g where a.attrelid = $1
     union all
     select case when objsubid = 0 then format('comment on view %s is %L', $2::text, description)
                 else format('comment on column %s.%I is %L', $2::text, (select attname from pg_attribute where attrelid = $1 and attnum = objsubid), description) end
       from pg_description where classoid = 'pg_class'::regclass and objoid = $1
     union all
     select format('alter view %s alter column %I set default %s', $2::text, a.attname, pg_get_expr(d.adbin, d.adrelid))
       from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum where d.adrelid = $1
     union all
     select unnest(array[pg_get_triggerdef(t.oid),
              'comment on trigger ' || quote_ident(t.tgname) || ' on ' || $2 || ' is ' || quote_literal(obj_description(t.oid, 'pg_trigger'))])
       from pg_trigger t where t.tgrelid = $1 and not t.tgisinternal`,
    [view.relation, view.qualified, view.owner],
  );
  return rows.flatMap(({ sql }) => (sql === null ? [] : [sql]));
}
