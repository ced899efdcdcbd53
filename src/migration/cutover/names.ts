import type { ClientBase } from 'pg';
import { ident } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import { together } from '../../db/tx.ts';
import type { Migration } from '../status.store.ts';

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
 * S on its way into our schema meets T, which is still there: where both come from schemas of their own, their indexes
 * and sequences may have the same names. Those of S are renamed first. `old` is what S itself will be called there.
 */
export async function stepAsideSql(
  client: ClientBase,
  { plan, physical }: Migration,
  old: string,
): Promise<string[]> {
  const schema = physical?.source.schema ?? '';
  const own = prepared(
    `select relname as name, case relkind when 'S' then 'sequence' else 'index' end as kind
       from pg_class where oid in (${ownRelations('$1')}) and relkind in ('i', 'S') order by 1`,
    [plan.sourceOid],
  );
  const [inOurs, inTheirs, { rows }] = await together(client, [
    () => namesIn(client, 'foreshadow', 0),
    () => namesIn(client, schema, 0),
    () => client.query<{ name: string; kind: string }>(own),
  ]);
  const taken = new Set([...inOurs.add(old), ...inTheirs]);
  return rows
    .filter(({ name }) => inOurs.has(name))
    .map(
      ({ name, kind }) =>
        `alter ${kind} ${ident(schema, name)} rename to ${ident(freeName(`${name.slice(0, 59)}_old`, taken))}`,
    );
}

/** Indexes that were built for T in S's place get their names, and the unique constraints that own them. */
export async function carriedNamesSql(
  client: ClientBase,
  { plan, physical, definition }: Migration,
  target: string,
): Promise<string[]> {
  if (!physical?.carried.length) return [];
  const swap = definition.cutover.finish === 'swap';
  const { schema } = swap ? physical.source : physical.target;
  const [taken, own] = await together(client, [
    () => namesIn(client, schema, swap ? plan.sourceOid : 0),
    () => namesOf(client, plan.targetOid),
  ]);
  for (const name of own) taken.add(name);
  return physical.carried.map(({ name, temporaryName, constraint }) => {
    const free = freeName(name, taken);
    return constraint
      ? `alter table ${target} add constraint ${ident(free)} ${constraint.replace('unique', `unique using index ${ident(temporaryName)}`)}`
      : `alter index ${ident(schema, temporaryName)} rename to ${ident(free)}`;
  });
}

async function namesOf(client: ClientBase, table: number): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    prepared(`select relname as name from pg_class where oid in (${ownRelations('$1')})`, [table]),
  );
  return rows.map((row) => row.name);
}
