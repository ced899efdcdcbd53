import type { ClientBase } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { cannot, type Handover, handOver, lacks, twin } from './handover.ts';
import { finalName, type Move } from './move.ts';

interface Policy {
  catalog: string;
  oid: number;
  object: string;
  name: string;
  /** what follows the table in CREATE POLICY */
  rest: string;
  columns: string[];
  comment: string | null;
  /** what a policy of this name on the new table says; null without one */
  there: string | null;
}

const restSql = (
  p: string,
) => `concat(' as ', case when ${p}.polpermissive then 'permissive' else 'restrictive' end,
   ' for ', case ${p}.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
   ' to ', (select string_agg(case r when 0 then 'public' else quote_ident(pg_get_userbyid(r)) end, ', ') from unnest(${p}.polroles) r),
   ' using (' || pg_get_expr(${p}.polqual, ${p}.polrelid) || ')', ' with check (' || pg_get_expr(${p}.polwithcheck, ${p}.polrelid) || ')')`;

/** Policies, copied: the old table keeps its own too, so that it is never readable by more people than before. */
export async function policyHandovers(client: ClientBase, move: Move): Promise<Handover[]> {
  const { rows } = await client.query<Policy>(
    `select 'pg_policy' as catalog, p.oid::int8::float8 as oid, pg_describe_object('pg_policy'::regclass, p.oid, 0) as object,
            p.polname as name, ${restSql('p')} as rest, obj_description(p.oid, 'pg_policy') as comment,
            (select ${restSql('t')} from pg_policy t where t.polrelid = $2 and t.polname = p.polname) as there,
            array(select a.attname::text from pg_depend d
                    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                   where d.classid = 'pg_policy'::regclass and d.objid = p.oid
                     and d.refclassid = 'pg_class'::regclass and d.refobjid = $1 and d.refobjsubid > 0) as columns
       from pg_policy p where p.polrelid = $1 order by p.polname`,
    [move.from.oid, move.to.oid],
  );
  return rows.map((policy) => {
    if (policy.there === policy.rest) return handOver(policy, {});
    const refused =
      lacks(policy.columns, move.to.columns) ??
      (policy.there === null ? null : 'the new table has another policy of the same name');
    return refused === null ? handOver(policy, work(policy, move)) : cannot(policy, refused);
  });
}

function work({ name, rest, comment }: Policy, move: Move) {
  const table = finalName(move);
  const create = (on: string) => `create policy ${ident(name)} on ${on}${rest}`;
  const after = [create(table)];
  if (comment !== null) after.push(`comment on policy ${ident(name)} on ${table} is ${literal(comment)}`);
  return { after, trial: [create(twin)] };
}

/** Row security itself, on or forced. */
export async function rowSecuritySql(client: ClientBase, move: Move): Promise<string[]> {
  const { rows } = await client.query<{ enabled: boolean; forced: boolean }>(
    `select s.relrowsecurity and not t.relrowsecurity as enabled, s.relforcerowsecurity and not t.relforcerowsecurity as forced
       from pg_class s, pg_class t where s.oid = $1 and t.oid = $2`,
    [move.from.oid, move.to.oid],
  );
  const table = finalName(move);
  return [
    ...(rows[0]?.enabled ? [`alter table ${table} enable row level security`] : []),
    ...(rows[0]?.forced ? [`alter table ${table} force row level security`] : []),
  ];
}
