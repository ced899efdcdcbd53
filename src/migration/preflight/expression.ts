import { loadModule, parseSync } from 'libpg-query';
import type { ClientBase } from 'pg';
import { ForeshadowError } from '../../core/errors.ts';
import { ident } from '../../db/ident.ts';
import { codeOf } from '../../db/sqlstate.ts';
import { requireFreeOfSettings } from './session-settings.ts';

/** What PostgreSQL itself makes of one user-written expression over a relation. */
export interface ResolvedExpression {
  /** the expression as PostgreSQL prints it: alias-qualified columns, every name outside pg_catalog qualified */
  readonly sql: string;
  readonly typeOid: number;
  readonly typmod: number;
  readonly collationOid: number;
  /** columns of the relation that it reads; null when it reads the whole row */
  readonly reads: readonly string[] | null;
}

interface ParsedSelect {
  targetList?: unknown[];
  [clause: string]: unknown;
}

/** An expression is text from a user; it may hold nothing but one expression. */
function requireOneExpression(column: string, text: string): void {
  const bad = (why: string) =>
    new ForeshadowError('MAP_INVALID', `map of "${column}" is not one SQL expression: ${why}`, {
      column,
      expression: text,
    });
  let statements: { stmt?: { SelectStmt?: ParsedSelect } }[];
  try {
    statements = (parseSync(`select (${text}\n)`) as { stmts: typeof statements }).stmts;
  } catch (error) {
    throw bad((error as Error).message);
  }
  const select = statements[0]?.stmt?.SelectStmt;
  if (statements.length !== 1 || select?.targetList?.length !== 1)
    throw bad('it holds several statements or columns');
  const clauses = Object.keys(select).filter((key) => !['targetList', 'limitOption', 'op'].includes(key));
  if (clauses.length) throw bad(`it holds a ${clauses[0]}`);
}

/** FROM clause of one aliased relation. The second relation makes PostgreSQL print columns with their alias. */
export function fromOne(relation: string, alias: 's' | 't'): string {
  return `${relation} as ${alias} cross join (values (1)) as foreshadow_one(one)`;
}

/**
 * What the role's search path would be in a session of its own. Ours start with another one, which is all that
 * pg_settings can tell, so the settings of role and database are looked up.
 */
export const ownSearchPathSql = (
  until: 'transaction' | 'session',
) => `select set_config('search_path', coalesce(
   (select substr(setting, length('search_path=') + 1)
      from pg_db_role_setting d cross join unnest(d.setconfig) as setting
     where setting like 'search\\_path=%' and d.setrole in (0, session_user::regrole)
       and d.setdatabase in (0, (select oid from pg_database where datname = current_database()))
     order by d.setrole <> 0 desc, d.setdatabase <> 0 desc limit 1),
   (select boot_val from pg_settings where name = 'search_path')), ${until === 'transaction'})`;

/**
 * Lets PostgreSQL parse `text` over a FROM clause of at least two relations, and reads back its canonical form, its
 * type and the columns of relation `oid` that it reads. Must run inside a transaction that the caller rolls back: it makes a temporary view.
 * @throws ForeshadowError MAP_INVALID naming the column and PostgreSQL's reason
 */
export async function resolveExpression(
  client: ClientBase,
  column: string,
  text: string,
  from: { sql: string; oid: number },
): Promise<ResolvedExpression> {
  await loadModule();
  requireOneExpression(column, text);
  await client.query('savepoint expression');
  try {
    // The names in it mean what they would mean to the user; everything else of ours goes by qualified names.
    await client.query(ownSearchPathSql('transaction'));
    await client.query(
      `create temp view foreshadow_expression as select (${text}\n) as foreshadow_value from ${from.sql}`,
    );
  } catch (error) {
    await client.query('rollback to savepoint expression');
    if (
      codeOf(error)?.startsWith('42') ||
      codeOf(error)?.startsWith('22') ||
      codeOf(error)?.startsWith('0A')
    ) {
      const message = `map of "${column}" (${text}): ${(error as Error).message}`;
      throw new ForeshadowError('MAP_INVALID', message, { column, expression: text }, { cause: error });
    }
    throw error;
  }
  await client.query('set local search_path = pg_catalog');
  const { rows } = await client.query<{
    definition: string;
    typeOid: number;
    typmod: number;
    collationOid: number;
    action: string;
    reads: string[];
  }>(
    `select pg_get_viewdef(v.attrelid) as definition, v.atttypid::int8::float8 as "typeOid", v.atttypmod as typmod,
            v.attcollation::int8::float8 as "collationOid", r.ev_action::text as action,
            array(select a.attname::text from pg_depend d
                    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                   where d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                     and d.refobjid = $1 and d.refobjsubid > 0 order by a.attnum) as reads
       from pg_attribute v join pg_rewrite r on r.ev_class = v.attrelid
      where v.attrelid = 'pg_temp.foreshadow_expression'::regclass and v.attnum = 1`,
    [from.oid],
  );
  await client.query('rollback to savepoint expression');
  const row = rows[0] as (typeof rows)[0];
  const sql = /^\s*SELECT\s+([\s\S]*) AS foreshadow_value\n\s+FROM /.exec(row.definition)?.[1];
  if (sql === undefined)
    throw new ForeshadowError('MAP_INVALID', `map of "${column}": cannot read back ${row.definition}`);
  if (/:varattno -/.test(row.action)) {
    throw new ForeshadowError('MAP_INVALID', `map of "${column}" reads a system column`, {
      column,
      expression: text,
    });
  }
  const { typeOid, typmod, collationOid } = row;
  return { sql, typeOid, typmod, collationOid, reads: /:varattno 0 /.test(row.action) ? null : row.reads };
}

/**
 * Rewrites `s.column` and `t.column` into something else, at the places where the parser finds column references.
 * @param sql a canonical expression of {@link resolveExpression}
 */
export function replaceColumns(
  sql: string,
  replacement: (column: string, alias: 's' | 't') => string,
): string {
  const prefix = 'select ';
  const places: { start: number; alias: 's' | 't'; column: string }[] = [];
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) {
      for (const item of node) visit(item);
      return;
    }
    if (node === null || typeof node !== 'object') return;
    for (const [key, value] of Object.entries(node)) {
      if (key === 'ColumnRef') {
        const { fields, location } = value as { fields: { String?: { sval: string } }[]; location?: number };
        const alias = fields[0]?.String?.sval === 't' ? 't' : 's';
        const column = fields[1]?.String?.sval;
        if (column !== undefined) places.push({ start: location ?? 0, alias, column });
      } else visit(value);
    }
  };
  visit(parseSync(prefix + sql));
  let bytes = Buffer.from(prefix + sql);
  for (const { start, alias, column } of places.sort((a, b) => b.start - a.start)) {
    const rest = bytes.subarray(start).toString();
    const length = Buffer.byteLength(
      /^[st]\.("(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*)/u.exec(rest)?.[0] ?? '',
    );
    bytes = Buffer.concat([
      bytes.subarray(0, start),
      Buffer.from(replacement(column, alias)),
      bytes.subarray(start + length),
    ]);
  }
  return bytes.toString().slice(prefix.length);
}

/**
 * PostgreSQL's own test of immutability, the one for index expressions: functions, operators, casts through text,
 * current_date and their like; and ours, for what follows a setting and is called immutable all the same. Runs inside a
 * transaction that the caller rolls back.
 * @throws ForeshadowError MAP_NOT_IMMUTABLE naming the column and, where it can be found, the function
 */
export async function requireImmutable(
  client: ClientBase,
  column: string,
  sql: string,
  relation: string,
): Promise<void> {
  await requireAccepted(client, column, sql, `${relation} as s`, async () => {
    await client.query(`create temp table s (like ${relation})`);
    await client.query(`create index on pg_temp.s (((${sql}) is null))`);
  });
  await requireFreeOfSettings(client, { column, is: `map of "${column}"` }, sql, `${relation} as s`);
}

/**
 * Stable functions that only make text or documents of their arguments depend on the session's settings, which are ours.
 * Other stable ones may read whatever they like: tables, settings, files.
 */
const harmlessStable = `p.provolatile = 's' and p.pronamespace = 'pg_catalog'::regnamespace and p.proname !~
  '(_to_xml|_to_xmlschema|_to_xml_and_xmlschema)$|^(pg_|has_|txid_|inet_|current|session|lastval|currval|row_security|to_reg|ts_|now$)'`;

/**
 * An expression over a target row t, or over a pair of rows s and t, that looks at nothing but those rows and changes
 * nothing. It is only compared, not stored, so what depends on the session's settings will do.
 * @throws ForeshadowError MAP_INVALID, MAP_NOT_IMMUTABLE naming the function
 */
export async function requireOfRows(
  client: ClientBase,
  column: string,
  sql: string,
  relations: { readonly source: string; readonly target: string },
): Promise<void> {
  const { source, target } = relations;
  const from = `${source} as s cross join ${target} as t`;
  await requireAccepted(client, column, sql, from, async () => {
    await client.query(`create temp table foreshadow_pair (s ${source}, t ${target})`);
    const ofPair = replaceColumns(sql, (name, alias) => `(${alias}).${ident(name)}`);
    // a check takes no subquery, aggregate or set; of volatility it asks nothing
    await client.query(`alter table pg_temp.foreshadow_pair add check (((${ofPair}) is null) is not null)`);
  });
  const culprit = await firstMutable(client, sql, from, harmlessStable);
  if (!culprit || culprit.rank > 2) return;
  throw new ForeshadowError(
    'MAP_NOT_IMMUTABLE',
    `map of "${column}" may look beyond its row: ${culprit.name} is ${culprit.volatility} (in ${sql})`,
    { column, expression: sql, function: culprit.name },
  );
}

async function requireAccepted(
  client: ClientBase,
  column: string,
  sql: string,
  from: string,
  define: () => Promise<void>,
): Promise<void> {
  await client.query('savepoint immutable');
  try {
    await define();
  } catch (error) {
    await client.query('rollback to savepoint immutable');
    const code = codeOf(error);
    if (code === '42P17') {
      const culprit = await firstMutable(client, sql, from);
      const what = culprit
        ? `${culprit.name} is ${culprit.volatility}`
        : 'a cast in it depends on session settings';
      const message = `map of "${column}" is not immutable: ${what} (in ${sql})`;
      throw new ForeshadowError('MAP_NOT_IMMUTABLE', message, {
        column,
        expression: sql,
        function: culprit?.name ?? null,
      });
    }
    if (code?.startsWith('42') || code?.startsWith('0A')) {
      const reason = (error as Error).message.replace(/ in (index expressions?|check constraints?)/, '');
      throw new ForeshadowError('MAP_INVALID', `map of "${column}" (${sql}): ${reason}`, {
        column,
        expression: sql,
      });
    }
    throw error;
  }
  await client.query('rollback to savepoint immutable');
}

/** Finds the function behind a refusal in the stored parse tree, where calls, operators and casts carry its OID. */
async function firstMutable(
  client: ClientBase,
  sql: string,
  from: string,
  harmless = 'false',
): Promise<{ name: string; volatility: string; rank: number } | null> {
  await client.query('savepoint mutable');
  await client.query(`create temp view foreshadow_mutable as select (${sql}) as c from ${from}`);
  const { rows } = await client.query<{ name: string; volatility: string; rank: number }>(
    // A cast through text shows the type it makes, not the one it takes: where that one's input function is immutable,
    // the other type's output function is to blame, and the cast is named for want of anything better.
    `with tree as (select ev_action::text as action from pg_rewrite where ev_class = 'pg_temp.foreshadow_mutable'::regclass),
     culprit (rank, name, volatility) as (
       select 1, p.oid::regprocedure::text, case p.provolatile when 's' then 'stable' else 'volatile' end
         from tree, regexp_matches(action, ':(?:funcid|opfuncid) (\\d+)', 'g') m
         join pg_proc p on p.oid = m[1]::oid
        where p.provolatile <> 'i' and not (${harmless})
       union all
       select 2, 'current_date or its like', 'stable' from tree where action like '%{SQLVALUEFUNCTION%'
       union all
       select case p.provolatile when 'i' then 4 else 3 end, 'the cast to ' || format_type(t.oid, null), 'stable'
         from tree, regexp_matches(action, '\\{COERCEVIAIO .*?:resulttype (\\d+) ', 'g') m
         join pg_type t on t.oid = m[1]::oid
         join pg_proc p on p.oid = t.typinput)
     select name, volatility, rank from culprit order by rank limit 1`,
  );
  await client.query('rollback to savepoint mutable');
  return rows[0] ?? null;
}
