import type { Pool } from 'pg';
import { ForeshadowError } from '../core/errors.ts';
import type { KeyColumn } from '../core/plan.ts';
import type { AccessResolverOptions } from './resolver.ts';
import { mentions } from './routines.ts';
import type { ViewDefinition } from './views.ts';

/** What the catalogue tells about the ways in which statements may speak of a table. */
export type TableSurroundings = Required<
  Pick<AccessResolverOptions, 'searchPath' | 'searchPathOf' | 'namesakes' | 'views' | 'routines'>
>;

export async function surroundingsOf(pool: Pool, schema: string, table: string): Promise<TableSurroundings> {
  const views = await viewsOver(pool, schema, table);
  const { searchPath, searchPathOf } = await searchPaths(pool);
  return {
    searchPath,
    searchPathOf,
    namesakes: await namesakesOf(pool, schema, table),
    views,
    routines: await routinesOn(pool, [table, ...views.map(({ name }) => name)]),
  };
}

/**
 * Columns in order, and the key: the named columns, else the primary key, which is empty when the table has none.
 * @throws ForeshadowError SOURCE_MISSING, NO_KEY for a column that is not there
 */
export async function columnsAndKey(
  pool: Pool,
  schema: string,
  table: string,
  names?: readonly string[],
): Promise<{ columns: string[]; key: KeyColumn[] }> {
  const { rows } = await pool.query<{ name: string; type: string; place: number | null }>(
    `select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
            array_position(x.indkey::int2[], a.attnum) as place
       from pg_class c
       join pg_namespace n on n.oid = c.relnamespace
       join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
       left join pg_index x on x.indrelid = c.oid and x.indisprimary
      where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p') order by a.attnum`,
    [schema, table],
  );
  if (rows.length === 0)
    throw new ForeshadowError('SOURCE_MISSING', `there is no table ${schema}.${table}`, { schema, table });
  const missing = names?.find((name) => !rows.some((row) => row.name === name));
  if (missing !== undefined)
    throw new ForeshadowError('NO_KEY', `${schema}.${table} has no column ${missing}`);
  if (names) {
    const named = names.map((name) => rows.find((row) => row.name === name)!);
    return { columns: rows.map(({ name }) => name), key: named.map(({ name, type }) => ({ name, type })) };
  }
  const key = rows.filter(({ place }) => place !== null).sort((a, b) => (a.place ?? 0) - (b.place ?? 0));
  return { columns: rows.map(({ name }) => name), key: key.map(({ name, type }) => ({ name, type })) };
}

/** Views that read the table, and views over those, five deep; ours are left out: they have columns of the target. */
async function viewsOver(pool: Pool, schema: string, table: string): Promise<ViewDefinition[]> {
  const { rows } = await pool.query<ViewDefinition>(
    `with recursive reading(oid, depth) as (
       select c.oid, 0 from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1 and c.relname = $2
       union
       select r.ev_class, reading.depth + 1
         from reading
         join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = reading.oid
                         and d.classid = 'pg_rewrite'::regclass
         join pg_rewrite r on r.oid = d.objid and r.ev_class <> reading.oid
        where reading.depth < 5)
     select distinct n.nspname::text as schema, v.relname::text as name, pg_get_viewdef(v.oid) as definition
       from reading
       join pg_class v on v.oid = reading.oid and v.relkind = 'v'
       join pg_namespace n on n.oid = v.relnamespace
      where n.nspname <> 'foreshadow'
        and not exists (
          select 1 from pg_rewrite r
            join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
            join pg_class o on o.oid = d.refobjid
           where r.ev_class = v.oid and o.relnamespace = to_regnamespace('foreshadow'))
      order by 1, 2`,
    [schema, table],
  );
  return rows;
}

async function namesakesOf(pool: Pool, schema: string, table: string): Promise<string[]> {
  const { rows } = await pool.query<{ schema: string }>(
    `select n.nspname::text as schema from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relname = $2 and n.nspname <> $1 and c.relkind in ('r', 'p', 'v', 'm', 'f')
        and n.nspname !~ '^pg_(toast|temp)' order by 1`,
    [schema, table],
  );
  return rows.map((row) => row.schema);
}

/**
 * Functions and procedures whose bodies name one of these relations, or call one that does. What a body puts together at
 * run time (EXECUTE), and triggers on other tables, are not seen.
 */
async function routinesOn(pool: Pool, relations: readonly string[]): Promise<Set<string>> {
  const { rows } = await pool.query<{ name: string; body: string }>(
    `select p.proname::text as name, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) as body
       from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname not in ('pg_catalog', 'information_schema', 'foreshadow') and p.prokind in ('f', 'p')
        and not exists (select 1 from pg_depend d
                         where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')`,
  );
  const found = new Set<string>();
  let words = [...relations];
  let rest = rows;
  while (words.length > 0) {
    const touching = rest.filter(({ body }) => words.some((word) => mentions(body, word)));
    words = touching.map(({ name }) => name).filter((name) => !found.has(name));
    for (const name of words) found.add(name);
    rest = rest.filter((row) => !touching.includes(row));
  }
  return found;
}

/** The search paths that sessions begin with, as far as ALTER ROLE and ALTER DATABASE say; else the server's default. */
async function searchPaths(pool: Pool): Promise<Pick<TableSurroundings, 'searchPath' | 'searchPathOf'>> {
  const { rows } = await pool.query<{ role: string | null; database: boolean; path: string }>(
    `select r.rolname::text as role, s.setdatabase <> 0 as database, substr(c, length('search_path=') + 1) as path
       from pg_db_role_setting s
       left join pg_roles r on r.oid = s.setrole
       cross join unnest(s.setconfig) c
      where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
        and c like 'search\\_path=%' order by database`,
  );
  let searchPath: readonly string[] = ['$user', 'public'];
  const searchPathOf = new Map<string, readonly string[]>();
  // a role's setting for this database comes after, and so outweighs, its setting for all
  for (const { role, path } of rows) {
    if (role === null) searchPath = schemasOf(path);
    else searchPathOf.set(role, schemasOf(path));
  }
  return { searchPath, searchPathOf };
}

function schemasOf(path: string): string[] {
  return path
    .split(',')
    .map((part) => part.trim().replace(/^"(.*)"$/, '$1'))
    .filter((part) => part !== '');
}
