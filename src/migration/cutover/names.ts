import type { ClientBase } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import { together } from '../../db/tx.ts';
import type { CarriedIndex } from '../status.store.ts';

/** Names of relations in a schema, those that belong to table `but` left out: it is about to leave. */
async function namesIn(client: ClientBase, schema: string, but: number): Promise<Set<string>> {
  const { rows } = await client.query<{ name: string }>(
    prepared(
      `select relname as name from pg_class c
      where relnamespace = to_regnamespace(quote_ident($1)) and oid not in (${ownRelations('$2')})`,
      [schema, but],
    ),
  );
  return new Set(rows.map((row) => row.name));
}

/** Indexes and owned sequences: what changes schema along with its table. */
const ownRelations = (table: string) =>
  `select indexrelid from pg_index where indrelid = ${table}
   union all
   select objid from pg_depend where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass
      and refobjid = ${table} and deptype in ('a', 'i')`;

/** A relation that goes where its table goes, by the name that it has now. */
export interface NamedRelation {
  readonly oid: number;
  readonly kind: 'index' | 'sequence';
  readonly name: string;
}

/** A table's indexes and owned sequences, by name. */
export async function indexesAndSequences(client: ClientBase, table: number): Promise<NamedRelation[]> {
  const { rows } = await client.query<NamedRelation>(
    prepared(
      `select oid::int8::float8 as oid, relname as name, case relkind when 'S' then 'sequence' else 'index' end as kind
         from pg_class where oid in (${ownRelations('$1')}) and relkind in ('i', 'I', 'S') order by relname`,
      [table],
    ),
  );
  return rows;
}

/** `name`, or with the smallest number after it that makes it free, as PostgreSQL itself chooses names. */
function freeName(name: string, taken: Set<string>): string {
  for (let i = 0; ; i++) {
    const candidate = i === 0 ? name : `${name.slice(0, 63 - String(i).length)}${i}`;
    if (taken.has(candidate)) continue;
    taken.add(candidate);
    return candidate;
  }
}

/**
 * A table on its way into another schema may meet one there whose indexes and sequences have the same names. Those of the
 * one that comes are renamed first.
 * @param table the one that comes, in the schema where it is now
 * @param into where it goes, and what it will be called there
 */
export async function stepAsideSql(
  client: ClientBase,
  table: { readonly oid: number; readonly schema: string },
  into: { readonly schema: string; readonly name: string },
): Promise<string[]> {
  const [there, here, rows] = await together(client, [
    () => namesIn(client, into.schema, 0),
    () => namesIn(client, table.schema, 0),
    () => indexesAndSequences(client, table.oid),
  ]);
  const taken = new Set([...there.add(into.name), ...here]);
  return rows
    .filter(({ name }) => there.has(name))
    .map(
      ({ name, kind }) =>
        `alter ${kind} ${ident(table.schema, name)} rename to ${ident(freeName(`${name.slice(0, 59)}_old`, taken))}`,
    );
}

/**
 * The other way: a table leaves a place for another one, whose indexes and sequences want their names again, and goes to a
 * schema where some of its own may be taken. They get a number. A sequence that it had of the other one stays behind.
 * @param table the one that leaves, in the schema where it is now
 * @param coming what takes its place; if `meet`, in the very schema where it goes
 */
export async function makeRoomSql(
  client: ClientBase,
  table: { readonly oid: number; readonly schema: string },
  into: { readonly schema: string; readonly name: string },
  coming: readonly NamedRelation[],
  meet: boolean,
): Promise<string[]> {
  const [there, here, rows] = await together(client, [
    () => namesIn(client, into.schema, table.oid),
    () => namesIn(client, table.schema, 0),
    () => indexesAndSequences(client, table.oid),
  ]);
  const unwanted = new Set([...there, ...(meet ? coming.map(({ name }) => name) : []), into.name]);
  const taken = new Set([...unwanted, ...here]);
  return rows
    .filter(({ oid, name }) => unwanted.has(name) && !coming.some((each) => each.oid === oid))
    .map(
      ({ name, kind }) =>
        `alter ${kind} ${ident(table.schema, name)} rename to ${ident(freeName(name, taken))}`,
    );
}

/**
 * Indexes that were built for a table in another one's place get their names, and the unique constraints that own them.
 * @param final where the table stands by then
 * @param leaving OID of the table that has left that schema by then, with its names; 0 for none
 */
export async function carriedNamesSql(
  client: ClientBase,
  indexes: readonly CarriedIndex[],
  table: number,
  final: { readonly schema: string; readonly name: string },
  leaving: number,
): Promise<string[]> {
  if (!indexes.length) return [];
  const [taken, own] = await together(client, [
    () => namesIn(client, final.schema, leaving),
    () => namesOf(client, table),
  ]);
  for (const name of own) taken.add(name);
  const on = ident(final.schema, final.name);
  return indexes.flatMap(({ name, temporaryName, constraint, comment, constraintComment }) => {
    const free = freeName(name, taken);
    const sql = [
      constraint
        ? `alter table ${on} add constraint ${ident(free)} ${constraint.replace('unique', `unique using index ${ident(temporaryName)}`)}`
        : `alter index ${ident(final.schema, temporaryName)} rename to ${ident(free)}`,
    ];
    if (comment) sql.push(`comment on index ${ident(final.schema, free)} is ${literal(comment)}`);
    if (constraint && constraintComment)
      sql.push(`comment on constraint ${ident(free)} on ${on} is ${literal(constraintComment)}`);
    return sql;
  });
}

async function namesOf(client: ClientBase, table: number): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    prepared(`select relname as name from pg_class where oid in (${ownRelations('$1')})`, [table]),
  );
  return rows.map((row) => row.name);
}
