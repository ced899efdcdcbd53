import type { ClientBase } from 'pg';
import { prepared } from '../../db/prepared.ts';

export interface BoundObject {
  /** system catalogue and OID, as pg_depend has them */
  readonly catalog: string;
  readonly oid: number;
  /** as PostgreSQL describes it, with its schema */
  readonly object: string;
  /** bound to the table's row type, not to the table */
  readonly by_type: boolean;
}

/**
 * Everything that is bound to a relation by its OID, after pg_depend. Left out is what belongs to the table itself and is
 * handed over by name without further ado (indexes, checks, defaults, sequences, its row type), and what is ours.
 * @param overlay OID of the migration's overlay, 0 before there is one
 */
export async function boundObjects(
  client: ClientBase,
  relation: number,
  overlay = 0,
): Promise<BoundObject[]> {
  const { rows } = await client.query<BoundObject>(
    prepared(
      `with of_table as (
       select d.classid, d.objid, d.objsubid, d.deptype, false as by_type
         from pg_depend d
        where d.refclassid = 'pg_class'::regclass and d.refobjid = $1
       union
       -- things that use the table's row type: columns, function arguments, other types
       select d.classid, d.objid, d.objsubid, d.deptype, true
         from pg_depend d
         join pg_type t on t.oid = d.refobjid and (t.typrelid = $1 or t.typelem in (select oid from pg_type where typrelid = $1))
        where d.refclassid = 'pg_type'::regclass and not (d.classid = 'pg_type'::regclass and d.deptype = 'i')
     )
     select d.classid::regclass::text as catalog, d.objid::int8::float8 as oid,
            pg_describe_object(d.classid, d.objid, d.objsubid) as object, bool_or(by_type) as by_type
       from of_table d
       left join pg_class rel on d.classid = 'pg_class'::regclass and rel.oid = d.objid
       left join pg_constraint con on d.classid = 'pg_constraint'::regclass and con.oid = d.objid
       left join pg_trigger trg on d.classid = 'pg_trigger'::regclass and trg.oid = d.objid
       left join pg_proc own on own.oid = trg.tgfoid
       left join pg_rewrite rule on d.classid = 'pg_rewrite'::regclass and rule.oid = d.objid
       left join pg_class viewed on viewed.oid = rule.ev_class
       left join pg_attrdef def on d.classid = 'pg_attrdef'::regclass and def.oid = d.objid
      where not coalesce(rel.relkind in ('i', 'I', 't') or rel.relispartition, false)
        and not coalesce(rel.relkind = 'S' and d.deptype in ('a', 'i'), false)
        and not (d.classid = 'pg_class'::regclass and d.objid = $1)
        and not coalesce(con.contype in ('p', 'u', 'c', 'n') and con.conrelid = $1
                 -- a temporal key (WITHOUT OVERLAPS) is an exclusion constraint at heart: ON CONFLICT cannot use it
                 and not exists (select 1 from pg_index x where x.indexrelid = con.conindid and x.indisexclusion), false)
        and not coalesce(def.adrelid = $1, false)
        and not (d.classid = 'pg_type'::regclass and d.deptype = 'i')
        and not coalesce(trg.tgisinternal or own.pronamespace = to_regnamespace('foreshadow'), false)
        and not coalesce(rule.ev_class = $1 and rule.rulename = '_RETURN', false)
        and not coalesce(rule.ev_class = $2 or viewed.relnamespace = to_regnamespace('foreshadow'), false)
        -- a constraint trigger is listed as a trigger
        and not coalesce(con.contype = 't' and con.conrelid = $1, false)
      group by 1, 2, 3 order by 3`,
      [relation, overlay],
    ),
  );
  return rows;
}
