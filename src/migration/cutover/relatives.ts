import type { Client, ClientBase } from 'pg';
import type { TablePlan } from '../../core/plan.ts';
import { prepared } from '../../db/prepared.ts';
import { together } from '../../db/tx.ts';
import type { Handover } from './handover.ts';
import type { HandoverPlan } from './handovers.ts';

/** S and the tables that are bound to it by foreign keys, which the swap holds too. */
export const heldTables = (
  plan: Pick<TablePlan, 'sourceOid'>,
  { relatives }: Pick<HandoverPlan, 'relatives'>,
): number[] => [plan.sourceOid, ...relatives.map(({ oid }) => oid)];

/** One after the other, in the order of their OIDs, so that two of us could not wait for each other. */
export async function lockRelatives(
  client: Client,
  { relatives }: Pick<HandoverPlan, 'relatives'>,
  mode: 'share row exclusive' | 'access exclusive',
  bound: () => Promise<unknown>,
): Promise<void> {
  for (const { name } of relatives)
    await together(client, [bound, () => client.query(`lock table only ${name} in ${mode} mode`)]);
}

/** SQL that locks a view and nothing below it, as LOCK TABLE would; it changes nothing. */
export const lockViewSql = ({ name, owner }: Handover['views'][number]) =>
  `alter view ${name} owner to ${owner}`;

/** `reached (oid)`, to follow `with recursive`: the relations of `from`, and all views that read them, however far up. */
export const reachedSql = (from: string): string => `reached (oid) as (
       ${from}
        union
       select r.ev_class from reached
         join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = reached.oid
         join pg_rewrite r on r.oid = d.objid)`;

/**
 * Changes when anything is bound to the table, or to a view that reads it, or let go, or altered: a view is replaced or granted
 * to somebody, a function of it replaced, a trigger is disabled, a constraint validated.
 */
export async function boundStamp(client: ClientBase, table: number): Promise<string> {
  const { rows } = await client.query<{ stamp: string }>(
    prepared(
      `with recursive ${reachedSql('select $1::oid')}
     select md5(string_agg(concat_ws(',', d.classid, d.objid, d.objsubid, d.refobjid, d.refobjsubid, d.deptype, r.xmin, p.xmin, t.xmin, c.xmin, x.xmin, v.relacl, f.xmin), ';'
              order by d.classid, d.objid, d.objsubid, d.refobjid, d.refobjsubid)) as stamp
       from pg_depend d
       left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
       left join pg_policy p on d.classid = 'pg_policy'::regclass and p.oid = d.objid
       left join pg_trigger t on d.classid = 'pg_trigger'::regclass and t.oid = d.objid
       left join pg_constraint c on d.classid = 'pg_constraint'::regclass and c.oid = d.objid
       left join pg_statistic_ext x on d.classid = 'pg_statistic_ext'::regclass and x.oid = d.objid
       left join pg_class v on v.oid = r.ev_class
       left join pg_proc f on d.classid = 'pg_proc'::regclass and f.oid = d.objid
      where d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from reached)`,
      [table],
    ),
  );
  return rows[0]?.stamp ?? '';
}
