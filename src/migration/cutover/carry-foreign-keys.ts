import type { ClientBase } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { cannot, type Handover, handOver, lacks } from './handover.ts';
import { finalName, type Move } from './move.ts';

interface ForeignKey {
  oid: number;
  catalog: string;
  object: string;
  name: string;
  child_oid: number;
  parent_oid: number;
  child: string;
  parent: string;
  columns: string[];
  referenced: string[];
  actions: string;
  validated: boolean;
  enforced: boolean;
  plain: boolean;
  comment: string | null;
  owned: boolean;
}

const actionSql = (column: string) =>
  `case ${column} when 'r' then 'restrict' when 'c' then 'cascade' when 'n' then 'set null' when 'd' then 'set default' else 'no action' end`;
const columnsSql = (table: string, numbers: string) =>
  `array(select a.attname::text from unnest(${numbers}) with ordinality k(n, ord)
           join pg_attribute a on a.attrelid = ${table} and a.attnum = k.n order by k.ord)`;

async function foreignKeys(client: ClientBase, table: number): Promise<ForeignKey[]> {
  const { rows } = await client.query<ForeignKey>(
    `select c.oid::int8::float8 as oid, 'pg_constraint' as catalog, pg_describe_object('pg_constraint'::regclass, c.oid, 0) as object,
            c.conname as name, c.conrelid::int8::float8 as child_oid, c.confrelid::int8::float8 as parent_oid,
            c.conrelid::regclass::text as child, c.confrelid::regclass::text as parent,
            ${columnsSql('c.conrelid', 'c.conkey')} as columns, ${columnsSql('c.confrelid', 'c.confkey')} as referenced,
            concat(case c.confmatchtype when 'f' then ' match full' end,
                   ' on update ', ${actionSql('c.confupdtype')}, ' on delete ', ${actionSql('c.confdeltype')},
                   (select ' (' || string_agg(quote_ident(a.attname), ', ') || ')'
                      from jsonb_array_elements_text(nullif(to_jsonb(c) -> 'confdelsetcols', 'null')) k(n)
                      join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.n::int),
                   case when c.condeferrable then ' deferrable' end, case when c.condeferred then ' initially deferred' end) as actions,
            c.convalidated as validated, coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) as enforced,
            c.conparentid = 0 and child.relkind = 'r' and parent.relkind = 'r' and not child.relispartition and not parent.relispartition
              and not coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) as plain,
            obj_description(c.oid, 'pg_constraint') as comment,
            pg_has_role(child.relowner, 'USAGE') and pg_has_role(parent.relowner, 'USAGE') as owned
       from pg_constraint c
       join pg_class child on child.oid = c.conrelid
       join pg_class parent on parent.oid = c.confrelid
      where c.contype = 'f' and (c.conrelid = $1 or c.confrelid = $1)
      order by c.conrelid, c.conname`,
    [table],
  );
  return rows;
}

/** Names of T's constraints, and the sets of columns over which it has a unique index that a foreign key can refer to. */
async function newTable(
  client: ClientBase,
  table: number,
): Promise<{ constraints: string[]; keys: string[][] }> {
  const { rows } = await client.query<{ constraints: string[]; keys: string[][] }>(
    `select array(select conname::text from pg_constraint where conrelid = $1) as constraints,
            coalesce((select json_agg(${columnsSql('x.indrelid', '(x.indkey::int2[])[0:x.indnkeyatts - 1]')})
                        from pg_index x where x.indrelid = $1 and x.indisunique and x.indpred is null and x.indexprs is null), '[]') as keys`,
    [table],
  );
  return rows[0] as { constraints: string[]; keys: string[][] };
}

/**
 * Foreign keys of the table and to the table. They are added to the new table inside the swap, unvalidated, and never
 * before: a foreign key on a table that the application does not know of yet would refuse the application's own deletes.
 */
export async function foreignKeyHandovers(client: ClientBase, move: Move): Promise<Handover[]> {
  const found = await foreignKeys(client, move.from.oid);
  if (!found.length) return [];
  const { constraints, keys } = await newTable(client, move.to.oid);
  const handovers: Handover[] = [];
  for (const key of found) {
    const refused = refusal(key, move, constraints, keys) ?? (await typesDiffer(client, key, move));
    handovers.push(refused === null ? handOver(key, work(key, move)) : cannot(key, refused));
  }
  return handovers;
}

function refusal(
  key: ForeignKey,
  move: Move,
  constraints: readonly string[],
  keys: readonly (readonly string[])[],
): string | null {
  const outgoing = key.child_oid === move.from.oid;
  const incoming = key.parent_oid === move.from.oid;
  if (!key.plain) return 'foreign keys of partitioned tables, and those with PERIOD, are not carried';
  // not for the key alone: both tables are locked and guarded during the swap
  if (!key.owned)
    return `it is to be made anew, for which this role must own ${outgoing ? key.parent : key.child}`;
  const other = 'does not hold the same value in it';
  const differs =
    (outgoing ? lacks(key.columns, move.same, other) : null) ??
    (incoming ? lacks(key.referenced, move.same, other) : null);
  if (differs !== null) return differs;
  if (outgoing && constraints.includes(key.name)) return 'the new table has a constraint of the same name';
  const list = (columns: readonly string[]) => [...columns].sort().join('\0');
  const unique =
    keys.some((columns) => list(columns) === list(key.referenced)) ||
    key.referenced.every((column) => move.kept.includes(column)); // then the index itself is carried
  return incoming && !unique ? `the new table has no unique index on (${key.referenced.join(', ')})` : null;
}

/** PostgreSQL's own word on whether the types fit, by a foreign key between two empty tables of them. */
async function typesDiffer(client: ClientBase, key: ForeignKey, move: Move): Promise<string | null> {
  const { rows } = await client.query<{ name: string }>('select $1::oid::regclass::text as name', [
    move.to.oid,
  ]);
  const now = (oid: number, name: string) => (oid === move.from.oid ? (rows[0]?.name as string) : name);
  const list = (columns: readonly string[]) => columns.map((column) => ident(column)).join(', ');
  await client.query('savepoint foreign_key');
  try {
    await client.query(
      `create temp table foreshadow_parent as select ${list(key.referenced)} from ${now(key.parent_oid, key.parent)} with no data;
       create temp table foreshadow_child as select ${list(key.columns)} from ${now(key.child_oid, key.child)} with no data;
       alter table pg_temp.foreshadow_parent add unique (${list(key.referenced)});
       alter table pg_temp.foreshadow_child add foreign key (${list(key.columns)})
         references pg_temp.foreshadow_parent (${list(key.referenced)})`,
    );
    return null;
  } catch (error) {
    if ((error as { code?: string }).code !== '42804') throw error;
    return `${(error as { detail?: string }).detail ?? (error as Error).message}`;
  } finally {
    await client.query('rollback to savepoint foreign_key');
  }
}

function work(key: ForeignKey, move: Move) {
  const final = finalName(move);
  const child = key.child_oid === move.from.oid ? final : key.child;
  const parent = key.parent_oid === move.from.oid ? final : key.parent;
  const name = ident(key.name);
  const list = (columns: readonly string[]) => columns.map((column) => ident(column)).join(', ');
  const unchecked = key.enforced ? 'not valid' : 'not enforced';
  const after = [
    `alter table ${child} add constraint ${name} foreign key (${list(key.columns)}) references ${parent} (${list(key.referenced)})${key.actions} ${unchecked}`,
  ];
  if (key.comment !== null)
    after.push(`comment on constraint ${name} on ${child} is ${literal(key.comment)}`);
  return {
    before: [`alter table ${key.child} drop constraint ${name}`],
    after,
    settle: key.validated && key.enforced ? [`alter table ${child} validate constraint ${name}`] : [],
    relatives: [key.child_oid, key.parent_oid].filter((oid) => oid !== move.from.oid),
  };
}
