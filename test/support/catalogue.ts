import type { Pool } from 'pg';

/** Schemas that are not PostgreSQL's own. */
const ours = (namespace: string) =>
  `${namespace} not in (select oid from pg_namespace where nspname ~ '^pg_' or nspname = 'information_schema')`;

/** One query for each kind of object: `where` it is, and `what` it is, down to everything that pg_dump would write. */
const kinds: Readonly<Record<string, string>> = {
  schema: `select '' as place, format('%s owner %s acl %s', nspname, nspowner::regrole, nspacl) as what
             from pg_namespace where ${ours('oid')}`,
  relation: `select relnamespace::regnamespace::text, format('%s kind %s %s owner %s acl %s options %s rls %s%s identity %s space %s am %s',
               oid::regclass, relkind, relpersistence, relowner::regrole, relacl, reloptions, relrowsecurity, relforcerowsecurity,
               relreplident, reltablespace, relam)
             from pg_class where ${ours('relnamespace')}`,
  column: `select c.relnamespace::regnamespace::text, format('%s #%s %s %s notnull %s default %s %s %s dropped %s collation %s storage %s compression %s target %s acl %s options %s',
               c.oid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
               a.attidentity, a.attgenerated, a.attisdropped, a.attcollation::regcollation, a.attstorage, a.attcompression,
               a.attstattarget, a.attacl, array(select o from unnest(a.attoptions) o where o !~ '^pg_attver=' order by 1))
             from pg_attribute a join pg_class c on c.oid = a.attrelid
             left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            where ${ours('c.relnamespace')} and a.attnum > 0 and c.relkind <> 't'`,
  index: `select c.relnamespace::regnamespace::text, format('%s valid %s primary %s unique %s immediate %s identity %s clustered %s',
               pg_get_indexdef(indexrelid), indisvalid, indisprimary, indisunique, indimmediate, indisreplident, indisclustered)
             from pg_index x join pg_class c on c.oid = x.indexrelid where ${ours('c.relnamespace')}`,
  constraint: `select connamespace::regnamespace::text, format('%s on %s %s validated %s deferrable %s %s index %s',
               conname, conrelid::regclass, pg_get_constraintdef(oid), convalidated, condeferrable, condeferred, conindid::regclass)
             from pg_constraint where ${ours('connamespace')}`,
  trigger: `select c.relnamespace::regnamespace::text, format('%s enabled %s', pg_get_triggerdef(t.oid), tgenabled)
             from pg_trigger t join pg_class c on c.oid = t.tgrelid where not tgisinternal and ${ours('c.relnamespace')}`,
  rule: `select c.relnamespace::regnamespace::text, format('%s enabled %s', pg_get_ruledef(r.oid), ev_enabled)
             from pg_rewrite r join pg_class c on c.oid = r.ev_class where ${ours('c.relnamespace')}`,
  function: `select pronamespace::regnamespace::text, format('%s owner %s acl %s', pg_get_functiondef(oid), proowner::regrole, proacl)
             from pg_proc where prokind in ('f', 'p') and ${ours('pronamespace')}`,
  sequence: `select c.relnamespace::regnamespace::text, format('%s %s start %s by %s in %s..%s cycle %s owned by %s',
               c.oid::regclass, seqtypid::regtype, seqstart, seqincrement, seqmin, seqmax, seqcycle,
               (select format('%s.%s %s', d.refobjid::regclass, a.attname, d.deptype) from pg_depend d
                  join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                 where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')))
             from pg_sequence s join pg_class c on c.oid = s.seqrelid where ${ours('c.relnamespace')}`,
  comment: `select '', format('%s: %s', pg_describe_object(classoid, objoid, objsubid), description)
             from pg_description where objoid >= 16384`,
  policy: `select '', format('%s %s permissive %s for %s to %s using %s check %s', polrelid::regclass, polname, polpermissive, polcmd,
               array(select case r when 0 then 'public' else r::regrole::text end from unnest(polroles) r order by 1),
               pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
             from pg_policy p join pg_class c on c.oid = polrelid where c.relnamespace <> coalesce(to_regnamespace('foreshadow'), 0)`,
  publication: `select '', format('%s all %s', pubname, puballtables) from pg_publication`,
  'publication table': `select '', format('%s %s.%s %s where %s', pubname, schemaname, tablename, to_jsonb(p) ->> 'attnames', to_jsonb(p) ->> 'rowfilter')
             from pg_publication_tables p`,
  statistics: `select stxnamespace::regnamespace::text, format('%s owner %s target %s', pg_get_statisticsobjdef(oid), stxowner::regrole, coalesce(stxstattarget, -1))
             from pg_statistic_ext`,
  type: `select typnamespace::regnamespace::text, format('%s %s %s', oid::regtype, typtype, typacl) from pg_type
          where ${ours('typnamespace')} and typtype <> 'c' and typcategory <> 'A'`,
};

/**
 * The whole catalogue of a database as sorted lines, without OIDs, so that two can be compared with toEqual.
 * @param without leaves out everything in this schema
 */
export async function catalogueOf(pool: Pool, without = ''): Promise<string[]> {
  const client = await pool.connect();
  try {
    await client.query('set search_path = pg_catalog; set jit = off');
    const all = Object.entries(kinds).map(
      ([kind, sql]) =>
        `select '${kind}: ' || what as line from (${sql}) as listed(place, what) where place = '' or place <> $1`,
    );
    const { rows } = await client.query<{ line: string }>(all.join(' union all '), [without]);
    const lines = rows.map((row) => row.line);
    return lines.filter((line) => without === '' || !line.startsWith(`schema: ${without} `)).sort();
  } finally {
    client.release(true); // its search_path goes with it
  }
}

/** Every row of a table with its place on disk: equal only if nobody has written to it. */
export async function rowsOnDisk(pool: Pool, table: string): Promise<unknown[]> {
  return (
    await pool.query(`select x.ctid::text, x.xmin::text, x::text as "row" from ${table} x order by x.ctid`)
  ).rows;
}
