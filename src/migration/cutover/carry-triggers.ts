import type { ClientBase } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { cannot, type Handover, handOver, lacks, twin } from './handover.ts';
import { finalName, type Move, takesName } from './move.ts';

interface Trigger {
  catalog: string;
  oid: number;
  object: string;
  name: string;
  definition: string;
  enabled: 'O' | 'D' | 'R' | 'A';
  columns: string[];
  comment: string | null;
  /** the table as the definition has it */
  table: string;
  function: string;
  may_execute: boolean;
}

const states = { O: null, D: 'disable', R: 'enable replica', A: 'enable always' } as const;

/**
 * The user's triggers, made anew on the new table at the swap and not before: our own copying must not set them off.
 * What a function in a procedural language does with the row cannot be known beforehand.
 */
export async function triggerHandovers(client: ClientBase, move: Move): Promise<Handover[]> {
  const { rows } = await client.query<Trigger>(
    `select 'pg_trigger' as catalog, t.oid::int8::float8 as oid,
            pg_describe_object('pg_trigger'::regclass, t.oid, 0) as object, t.tgname as name, pg_get_triggerdef(t.oid) as definition,
            t.tgenabled as enabled, obj_description(t.oid, 'pg_trigger') as comment,
            array(select a.attname::text from pg_depend d
                    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                   where d.classid = 'pg_trigger'::regclass and d.objid = t.oid
                     and d.refclassid = 'pg_class'::regclass and d.refobjid = $1 and d.refobjsubid > 0) as columns,
            format('%s.%s', quote_ident(n.nspname), quote_ident(c.relname)) as table, p.oid::regprocedure::text as function, has_function_privilege(p.oid, 'EXECUTE') as may_execute
       from pg_trigger t join pg_proc p on p.oid = t.tgfoid
       join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
      where t.tgrelid = $1 and not t.tgisinternal and t.tgparentid = 0 and p.pronamespace is distinct from to_regnamespace('foreshadow')
      order by t.tgname`,
    [move.from.oid],
  );
  return rows.map((trigger) => {
    const refused =
      lacks(trigger.columns, move.to.columns) ??
      (trigger.may_execute ? null : `this role may not execute ${trigger.function}`) ??
      (takesName(move) ? null : 'with finish "route" triggers are not carried: the old table keeps its name');
    return refused === null ? handOver(trigger, work(trigger, move)) : cannot(trigger, refused);
  });
}

function work({ name, definition, enabled, comment, table: on, function: of }: Trigger, move: Move) {
  const table = finalName(move);
  const after = [definition];
  if (states[enabled]) after.push(`alter table ${table} ${states[enabled]} trigger ${ident(name)}`);
  if (comment !== null) after.push(`comment on trigger ${ident(name)} on ${table} is ${literal(comment)}`);
  const lost = move.from.columns.filter((column) => !move.to.columns.includes(column));
  return {
    warning: lost.length
      ? `what ${of} does cannot be seen: it must get by without ${lost.join(', ')} from the swap on`
      : null,
    before: [`drop trigger ${ident(name)} on ${ident(move.origin.schema, move.origin.name)}`],
    after,
    trial: [definition.replace(` ON ${on} `, ` ON ${twin} `)],
  };
}
