import type { ClientBase } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { ident, literal } from '../db/ident.ts';
import { partitionsOf } from './preflight/partitions.ts';
import type { CarriedIndex, DeferredIndex } from './status.store.ts';

/** The definition of index x, named i, without its beginning: any name may hold ' ON ' or ' USING '. */
const bodySql = `(select substr(pg_get_indexdef(x.indexrelid), 1 + length(format('CREATE %sINDEX %I ON %s%I.%I ',
    case when x.indisunique then 'UNIQUE ' else '' end, i.relname, case when c.relkind = 'p' then 'ONLY ' else '' end,
    n.nspname, c.relname)))
   from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = x.indrelid)`;

/**
 * Unique indexes of T beside its key. While lanes refresh in single statements, two rows that swap a unique value would
 * collide, so these wait until the copy is complete; meanwhile a non-unique twin serves lookups.
 */
export async function findDeferred(
  client: ClientBase,
  plan: TablePlan,
  key: readonly string[],
): Promise<DeferredIndex[]> {
  const { rows } = await client.query<{
    name: string;
    definition: string;
    body: string;
    constraint: DeferredIndex['constraint'];
    comment: string | null;
    clustered: boolean;
    columns: string[] | null;
    plain: boolean;
  }>(
    `select i.relname as name, pg_get_indexdef(x.indexrelid) as definition, ${bodySql} as body, x.indisclustered as clustered,
            x.indimmediate and x.indisvalid and x.indpred is null and x.indexprs is null as plain,
            case when con.oid is not null then json_build_object('name', con.conname, 'definition', pg_get_constraintdef(con.oid),
              'deferrable', con.condeferrable) end as constraint,
            coalesce(obj_description(con.oid, 'pg_constraint'), obj_description(x.indexrelid, 'pg_class')) as comment,
            (select array_agg(a.attname::text order by k.ord) from unnest(x.indkey::int2[]) with ordinality k(attnum, ord)
               join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum where k.ord <= x.indnkeyatts) as columns
       from pg_index x join pg_class i on i.oid = x.indexrelid
       left join pg_constraint con on con.conindid = x.indexrelid and con.contype in ('p', 'u')
      where x.indrelid = $1 and x.indisunique order by x.indisprimary desc, i.relname`,
    [plan.targetOid],
  );
  // Keep the index that ON CONFLICT (key) needs; it is the one preflight chose: the first on these columns.
  const kept = rows.findIndex((row) => row.plain && row.columns?.join('\0') === key.join('\0'));
  return rows
    .filter((_, i) => i !== kept)
    .map(({ name, definition, body, constraint, comment, clustered }, i) => ({
      name,
      definition,
      body,
      constraint,
      comment,
      clustered,
      twin: `foreshadow_${plan.migrationId}_twin_${i + 1}`,
    }));
}

/** Drops a deferred index and puts its twin in place; T is empty, so both are instant. `target` as it is named now. */
export function deferIndexSql(index: DeferredIndex, target: { schema: string; name: string }): string[] {
  const table = ident(target.schema, target.name);
  const drop = index.constraint
    ? `alter table ${table} drop constraint ${ident(index.constraint.name)}`
    : `drop index ${ident(target.schema, index.name)}`;
  return index.twin ? [drop, `create index ${ident(index.twin)} on ${table} ${index.body}`] : [drop];
}

/** Puts a deferred index back as it was, in one go: for abort, when T is empty. */
export function restoreIndexSql(index: DeferredIndex, target: { schema: string; name: string }): string[] {
  const build = `create unique index ${ident(index.name)} on ${ident(target.schema, target.name)} ${index.body}`;
  return [build, ...settleIndexSql(index, target)];
}

/**
 * Once a deferred index is built: the constraint that owns it, its comment, and its twin goes. A constraint takes over
 * the index as it is, since ADD CONSTRAINT alone would forget storage parameters.
 */
export function settleIndexSql(index: DeferredIndex, target: { schema: string; name: string }): string[] {
  const { name, constraint, comment } = index;
  const table = ident(target.schema, target.name);
  const statements: string[] = [];
  if (constraint) {
    const kind = constraint.definition.startsWith('PRIMARY KEY') ? 'primary key' : 'unique';
    const initially = / DEFERRABLE INITIALLY DEFERRED/.test(constraint.definition)
      ? ' initially deferred'
      : '';
    const deferrable = constraint.deferrable ? ` deferrable${initially}` : '';
    const add = `add constraint ${ident(constraint.name)} ${kind} using index ${ident(name)}${deferrable}`;
    statements.push(`alter table ${table} ${add}`);
  }
  if (comment !== null) {
    const what = constraint
      ? `constraint ${ident(constraint.name)} on ${table}`
      : `index ${ident(target.schema, name)}`;
    statements.push(`comment on ${what} is ${literal(comment)}`);
  }
  if (index.clustered) statements.push(`alter table ${table} cluster on ${ident(constraint?.name ?? name)}`);
  if (index.twin) statements.push(`drop index if exists ${ident(target.schema, index.twin)}`);
  return statements;
}

/**
 * Non-unique and unique indexes of S whose columns the map keeps under their names and types, and for which T has no
 * index on the same columns: the swap carries them, so they are built on T after the copy. No unique ones to a
 * partitioned T, which cannot take over an index that is built later (preflight says which these are).
 */
export async function findCarried(
  client: ClientBase,
  plan: TablePlan,
  numbered = 0,
): Promise<CarriedIndex[]> {
  const kept = plan.columns.filter((column) => column.identity).map((column) => column.name);
  const { rows } = await client.query<{
    name: string;
    method: string;
    unique: boolean;
    constraint: string | null;
    comment: string | null;
    constraintComment: string | null;
  }>(
    `with def as (
       select x.*, i.relname, ${bodySql} as body,
              array(select distinct a.attname::text from pg_depend d
                      join pg_attribute a on a.attrelid = x.indrelid and a.attnum = d.refobjsubid
                     where d.classid = 'pg_class'::regclass and d.objid = x.indexrelid
                       and d.refclassid = 'pg_class'::regclass and d.refobjid = x.indrelid and d.refobjsubid > 0
                     union
                    select a.attname::text from unnest(x.indkey::int2[]) k(attnum)
                      join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum) as columns
         from pg_index x join pg_class i on i.oid = x.indexrelid
        where x.indrelid = any ($1::oid[]) and x.indisvalid)
     select s.relname as name, s.body as method, s.indisunique as unique,
            case when con.oid is not null then
              'unique' || case when con.condeferrable then ' deferrable' else '' end
                       || case when con.condeferred then ' initially deferred' else '' end end as constraint,
            obj_description(s.indexrelid, 'pg_class') as comment, obj_description(con.oid, 'pg_constraint') as "constraintComment"
       from def s cross join (values (' WITH \\([^)]*\\)')) as parameters(storage)
       left join pg_constraint con on con.conindid = s.indexrelid and con.contype = 'u'
      where s.indrelid = $2 and s.columns <@ $3::text[] and s.relname not like 'foreshadow\\_%'
        and not exists (select 1 from def t where t.indrelid = $4 and regexp_replace(t.body, storage, '') = regexp_replace(s.body, storage, '') and (t.indisunique or not s.indisunique))
        and not (s.indisunique and (select relkind = 'p' from pg_class where oid = $4))
      order by s.relname`,
    [[plan.sourceOid, plan.targetOid], plan.sourceOid, kept, plan.targetOid],
  );
  return rows.map((row, i) => {
    const temporaryName = `foreshadow_${plan.migrationId}_carried_${numbered + i + 1}`;
    return {
      name: row.name,
      temporaryName,
      definition: `create ${row.unique ? 'unique ' : ''}index concurrently ${ident(temporaryName)} on ${plan.names.target} ${row.method}`,
      constraint: row.constraint,
      comment: row.comment,
      constraintComment: row.constraintComment,
    };
  });
}

/** Indexes that came to S after `known` were found, and that T lacks: at the swap they would be lost. */
export async function findLate(
  client: ClientBase,
  plan: TablePlan,
  known: readonly CarriedIndex[],
): Promise<CarriedIndex[]> {
  const unnamed = ({ definition, temporaryName }: CarriedIndex) =>
    definition.replace(ident(temporaryName), '');
  const built = new Set(known.map(unnamed));
  return (await findCarried(client, plan, known.length)).filter((index) => !built.has(unnamed(index)));
}

/**
 * A carried index of a partitioned T: one for each partition, to be built concurrently, and then, in one transaction, T's
 * own, which stands for all of them and becomes valid with the last one that is attached.
 */
export function partitionIndexes(
  index: CarriedIndex,
  target: string,
  partitions: readonly { readonly schema: string; readonly name: string }[],
): {
  readonly each: readonly { readonly schema: string; readonly name: string; readonly definition: string }[];
  readonly whole: readonly string[];
} {
  const start = `create index concurrently ${ident(index.temporaryName)} on ${target} `;
  const body = index.definition.slice(start.length);
  const each = partitions.map(({ schema, name }) => {
    const own = `${name.slice(0, 31)}_${index.name.slice(0, 31)}`;
    return {
      schema,
      name: own,
      definition: `create index concurrently ${ident(own)} on ${ident(schema, name)} ${body}`,
    };
  });
  const whole = ident('foreshadow', index.temporaryName);
  return {
    each,
    whole: [
      `create index ${ident(index.temporaryName)} on only ${target} ${body}`,
      ...each.map(({ schema, name }) => `alter index ${whole} attach partition ${ident(schema, name)}`),
    ],
  };
}

/** Indexes that were built on single partitions for carried ones, as DROP statements. */
export async function leftOnPartitions(
  client: ClientBase,
  plan: TablePlan,
  carried: readonly CarriedIndex[],
): Promise<string[]> {
  const partitions = await partitionsOf(client, plan.targetOid);
  const names = carried.flatMap((index) =>
    partitionIndexes(index, plan.names.target, partitions).each.map(({ name }) => name),
  );
  if (!names.length) return [];
  const { rows } = await client.query<{ sql: string }>(
    `select format('drop index %I.%I', n.nspname, i.relname) as sql
       from pg_index x join pg_class i on i.oid = x.indexrelid join pg_namespace n on n.oid = i.relnamespace
      where x.indrelid = any ($1::oid[]) and i.relname = any ($2::text[]) and not i.relispartition`,
    [partitions.map(({ oid }) => oid), names],
  );
  return rows.map(({ sql }) => sql);
}
