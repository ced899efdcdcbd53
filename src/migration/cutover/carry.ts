import type { ClientBase } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import { finalName, type Move } from './move.ts';

/**
 * What one table hands to the one that takes its place, in the transaction of the swap. Each function reads the catalogue
 * before the lock and returns SQL for after it, when the other table stands in its final place.
 */

/** Comments of the table and of columns that both have, where the new one has none. */
export async function commentsSql(client: ClientBase, move: Move): Promise<string[]> {
  const { rows } = await client.query<{ column: string | null; comment: string }>(
    prepared(
      `select a.attname as column, d.description as comment
       from pg_description d left join pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid and d.objsubid > 0
      where d.classoid = 'pg_class'::regclass and d.objoid = $1
        and not exists (
          select 1 from pg_description t left join pg_attribute b on b.attrelid = t.objoid and b.attnum = t.objsubid and t.objsubid > 0
           where t.classoid = 'pg_class'::regclass and t.objoid = $2 and b.attname is not distinct from a.attname)
        and (a.attname is null or a.attname::text = any ($3::text[]))`,
      [move.from.oid, move.to.oid, move.to.columns],
    ),
  );
  const target = finalName(move);
  return rows.map(({ column, comment }) =>
    column === null
      ? `comment on table ${target} is ${literal(comment)}`
      : `comment on column ${target}.${ident(column)} is ${literal(comment)}`,
  );
}

/**
 * Defaults of columns that hold the same value, where the new table has none: converted as the map converts the column, so
 * that a new row gets what one of the old table would have become. Sequences are another matter.
 */
export async function defaultsSql(client: ClientBase, move: Move): Promise<string[]> {
  const { rows } = await client.query<{ column: string; expression: string }>(
    prepared(
      `select a.attname as column, pg_get_expr(d.adbin, d.adrelid) as expression
       from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       join pg_attribute b on b.attrelid = $2 and b.attname = a.attname and not b.atthasdef and b.attidentity = ''
      where a.attrelid = $1 and a.attgenerated = '' and a.attname::text = any ($3::text[])
        and pg_get_serial_sequence($1::oid::regclass::text, a.attname) is null`,
      [move.from.oid, move.to.oid, move.same],
    ),
  );
  return rows.map(({ column, expression }) => {
    const value = move.casts[column] ? `(${expression})${move.casts[column]}` : expression;
    return `alter table ${finalName(move)} alter column ${ident(column)} set default ${value}`;
  });
}

/** CHECK constraints over kept columns, which the new table lacks: added unvalidated, validated after the swap. */
export async function checksSql(client: ClientBase, move: Move): Promise<string[]> {
  const { rows } = await client.query<{ name: string; definition: string; comment: string | null }>(
    prepared(
      `select c.conname as name, pg_get_constraintdef(c.oid) as definition, obj_description(c.oid, 'pg_constraint') as comment
       from pg_constraint c
      where c.conrelid = $1 and c.contype = 'c'
        and not exists (select 1 from unnest(c.conkey) k join pg_attribute a on a.attrelid = $1 and a.attnum = k
                         where a.attname::text <> all ($3::text[]))
        and not exists (select 1 from pg_constraint t where t.conrelid = $2 and t.contype = 'c'
                         and (t.conname = c.conname or pg_get_constraintdef(t.oid) = pg_get_constraintdef(c.oid)))`,
      [move.from.oid, move.to.oid, move.kept],
    ),
  );
  const target = finalName(move);
  return rows.flatMap(({ name, definition, comment }) => [
    `alter table ${target} add constraint ${ident(name)} ${definition.replace(/ NOT VALID$/, '')} not valid`,
    ...(comment === null ? [] : [`comment on constraint ${ident(name)} on ${target} is ${literal(comment)}`]),
  ]);
}

/** Owner and grants, on the table and on columns of the same name. */
export async function grantsSql(client: ClientBase, move: Move): Promise<string[]> {
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
      [move.from.oid, move.to.oid, finalName(move), move.to.columns],
    ),
  );
  return rows.map((row) => row.sql);
}
