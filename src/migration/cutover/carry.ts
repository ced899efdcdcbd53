import type { ClientBase } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import type { Migration } from '../status.store.ts';

/**
 * What S has and the swap hands to T, in its own transaction. Each function reads the catalogue before the lock and
 * returns SQL for after it; `target` is T's name then.
 */

/** Comments of the table and of columns that T has too, where T has none. */
export async function commentsSql(
  client: ClientBase,
  migration: Migration,
  target: string,
): Promise<string[]> {
  const { plan } = migration;
  const { rows } = await client.query<{ column: string | null; comment: string }>(
    prepared(
      `select a.attname as column, d.description as comment
       from pg_description d left join pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid and d.objsubid > 0
      where d.classoid = 'pg_class'::regclass and d.objoid = $1
        and not exists (
          select 1 from pg_description t left join pg_attribute b on b.attrelid = t.objoid and b.attnum = t.objsubid and t.objsubid > 0
           where t.classoid = 'pg_class'::regclass and t.objoid = $2 and b.attname is not distinct from a.attname)
        and (a.attname is null or a.attname::text = any ($3::text[]))`,
      [plan.sourceOid, plan.targetOid, plan.targetOrder],
    ),
  );
  return rows.map(({ column, comment }) =>
    column === null
      ? `comment on table ${target} is ${literal(comment)}`
      : `comment on column ${target}.${ident(column)} is ${literal(comment)}`,
  );
}

/** Defaults of columns that the map keeps as they are, where T has none. Sequences are another matter. */
export async function defaultsSql(
  client: ClientBase,
  migration: Migration,
  target: string,
): Promise<string[]> {
  const { plan } = migration;
  const kept = plan.columns.filter((column) => column.identity).map((column) => column.name);
  const { rows } = await client.query<{ column: string; expression: string }>(
    prepared(
      `select a.attname as column, pg_get_expr(d.adbin, d.adrelid) as expression
       from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       join pg_attribute b on b.attrelid = $2 and b.attname = a.attname and not b.atthasdef and b.attidentity = ''
      where a.attrelid = $1 and a.attgenerated = '' and a.attname::text = any ($3::text[])
        and pg_get_serial_sequence($1::oid::regclass::text, a.attname) is null`,
      [plan.sourceOid, plan.targetOid, kept],
    ),
  );
  return rows.map(
    ({ column, expression }) =>
      `alter table ${target} alter column ${ident(column)} set default ${expression}`,
  );
}

/** CHECK constraints over columns that the map keeps, which T lacks: added unvalidated, validated after the swap. */
export async function checksSql(client: ClientBase, migration: Migration, target: string): Promise<string[]> {
  const { plan } = migration;
  const kept = plan.columns.filter((column) => column.identity).map((column) => column.name);
  const { rows } = await client.query<{ name: string; definition: string }>(
    prepared(
      `select c.conname as name, pg_get_constraintdef(c.oid) as definition
       from pg_constraint c
      where c.conrelid = $1 and c.contype = 'c'
        and not exists (select 1 from unnest(c.conkey) k join pg_attribute a on a.attrelid = $1 and a.attnum = k
                         where a.attname::text <> all ($3::text[]))
        and not exists (select 1 from pg_constraint t where t.conrelid = $2 and t.contype = 'c'
                         and (t.conname = c.conname or pg_get_constraintdef(t.oid) = pg_get_constraintdef(c.oid)))`,
      [plan.sourceOid, plan.targetOid, kept],
    ),
  );
  return rows.map(
    ({ name, definition }) =>
      `alter table ${target} add constraint ${ident(name)} ${definition.replace(/ NOT VALID$/, '')} not valid`,
  );
}

/** Owner and grants, on the table and on columns of the same name. */
export async function grantsSql(client: ClientBase, migration: Migration, target: string): Promise<string[]> {
  const { plan } = migration;
  const { rows } = await client.query<{ sql: string }>(
    prepared(
      `select format('alter table %s owner to %I', $3::text, pg_get_userbyid(s.relowner)) as sql
       from pg_class s join pg_class t on t.oid = $2 where s.oid = $1 and s.relowner <> t.relowner
     union all
     select format('grant %s on table %s to %s%s', g.privilege_type, $3::text,
              case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
              case when g.is_grantable then ' with grant option' else '' end)
       from pg_class c, aclexplode(c.relacl) g where c.oid = $1 and g.grantee <> c.relowner
     union all
     select format('grant %s (%I) on table %s to %s%s', g.privilege_type, a.attname, $3::text,
              case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
              case when g.is_grantable then ' with grant option' else '' end)
       from pg_attribute a, aclexplode(a.attacl) g
      where a.attrelid = $1 and a.attname::text = any ($4::text[])`,
      [plan.sourceOid, plan.targetOid, target, plan.targetOrder],
    ),
  );
  return rows.map((row) => row.sql);
}

interface OwnedSequence {
  column: string;
  sequence: string;
  identity: boolean;
  next: string;
  target: 'identity' | 'own sequence' | 'same sequence' | 'other default' | 'none' | 'missing';
  target_sequence: string | null;
}

/**
 * Numbers go on where S's sequence stands, never from max(key): that would give out the numbers of deleted rows again.
 * A serial's sequence moves to T when T has none of its own; an identity cannot be moved, so T's starts at the next
 * number. To be read under the lock that keeps writers out.
 * @returns SQL to run before S leaves its schema, and after T has taken its place
 */
export async function sequencesSql(
  client: ClientBase,
  migration: Migration,
  target: string,
): Promise<{ before: string[]; after: string[] }> {
  const { plan } = migration;
  const found = await client.query<OwnedSequence>(
    prepared(
      `select a.attname as column, s.oid::regclass::text as sequence, d.deptype = 'i' as identity,
            case when b.attname is null then 'missing' when b.attidentity <> '' then 'identity'
                 when own.name is not null then 'own sequence'
                 when uses.sequence then 'same sequence'
                 when b.atthasdef then 'other default' else 'none' end as target,
            own.name as target_sequence
       from pg_depend d
       join pg_class s on s.oid = d.objid and s.relkind = 'S'
       join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
       left join pg_attribute b on b.attrelid = $2 and b.attname = a.attname and not b.attisdropped
       left join lateral (select pg_get_serial_sequence($2::oid::regclass::text, b.attname) as name where b.attname is not null) own on true
       left join lateral (
         select true as sequence from pg_attrdef f join pg_depend u on u.classid = 'pg_attrdef'::regclass and u.objid = f.oid
          where f.adrelid = $2 and f.adnum = b.attnum and u.refclassid = 'pg_class'::regclass and u.refobjid = s.oid) uses on true
      where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = $1
        and d.deptype in ('a', 'i')`,
      [plan.sourceOid, plan.targetOid],
    ),
  );
  const before: string[] = [];
  const after: string[] = [];
  for (const row of found.rows) {
    const { sequence, target_sequence: own } = row;
    const name = `${target}.${ident(row.column)}`;
    const column = `alter table ${target} alter column ${ident(row.column)}`;
    const next = await nextNumber(client, sequence);
    if (row.target === 'identity') after.push(`${column} restart with ${next}`);
    else if (row.target === 'own sequence') {
      before.push(`alter sequence ${own} restart with ${next}`);
      before.push(...(await sequenceGrants(client, sequence, own as string)));
    } else if (row.target === 'same sequence' && row.identity) {
      after.push(
        `${column} drop default`,
        `${column} add generated by default as identity (start with ${next})`,
      );
    } else if (row.target === 'same sequence') {
      // T was made LIKE S with its defaults: it draws from S's sequence, which must not go with the old table.
      before.push(`alter sequence ${sequence} owned by none`);
      after.push(`alter sequence ${sequence} owned by ${name}`);
    } else if (row.target === 'none' && row.identity) {
      after.push(`${column} add generated by default as identity (start with ${next})`);
    } else if (row.target === 'none') {
      before.push(`alter sequence ${sequence} owned by none`);
      after.push(
        `${column} set default nextval(${literal(sequence)}::regclass)`,
        `alter sequence ${sequence} owned by ${name}`,
      );
    }
  }
  return { before, after };
}

async function nextNumber(client: ClientBase, sequence: string): Promise<string> {
  const { rows } = await client.query<{ next: string }>(
    `select (case when v.is_called then v.last_value + s.seqincrement else v.last_value end)::text as next
       from ${sequence} v, pg_sequence s where s.seqrelid = $1::regclass`,
    [sequence],
  );
  return rows[0]?.next as string;
}

/** Whoever draws numbers from S's sequence may draw them from T's. */
async function sequenceGrants(client: ClientBase, from: string, to: string): Promise<string[]> {
  const { rows } = await client.query<{ sql: string }>(
    `select format('grant %s on sequence %s to %s%s', g.privilege_type, $2::text,
              case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
              case when g.is_grantable then ' with grant option' else '' end) as sql
       from pg_class c, aclexplode(c.relacl) g where c.oid = $1::regclass and g.grantee <> c.relowner`,
    [from, to],
  );
  return rows.map((row) => row.sql);
}
