import { planLabel, type TablePlan } from '../core/plan.ts';
import { ident, literal } from '../db/ident.ts';

export const captureTrigger = 'foreshadow_capture';
export const truncateTrigger = 'foreshadow_truncate';

const functionName = (plan: TablePlan, role: string) => ident('foreshadow', `${role}_${planLabel(plan)}`);
const mapFunction = (plan: TablePlan, i: number) =>
  ident('foreshadow', `map_key_${planLabel(plan)}_${i + 1}`);

const occasion = ({ name, reverse }: TablePlan) =>
  reverse ? `migration "${name}" can be rolled back` : `migration "${name}" runs`;

/** The mapped key of OLD or NEW. Bound at creation, so no search_path of a writer can change what it means. */
function mappedKeyOf(plan: TablePlan, row: 'old' | 'new'): string {
  const key = plan.sourceKey.map((column) => `${row}.${ident(column.name)}`).join(', ');
  return plan.targetKey.map((_, i) => `${mapFunction(plan, i)}(${key})`).join(', ');
}

/**
 * The trigger functions. Capture writes changed keys only, in the application's own transaction, and nothing else:
 * no NOTIFY (it forbids two-phase commit and serialises commits) and no SET clause (it costs a tenth of the writes);
 * so every name and operator is qualified instead.
 */
export function captureFunctionsSql(plan: TablePlan): string[] {
  const columns = [
    ...plan.sourceKey.map((_, i) => `k${i + 1}`),
    ...plan.targetKey.map((_, i) => `m${i + 1}`),
  ].join(', ');
  const raw = (row: 'old' | 'new') =>
    plan.sourceKey.map((column) => `${row}.${ident(column.name)}`).join(', ');
  const log = (row: 'old' | 'new', op: string) =>
    `insert into ${plan.names.keyLog} (${columns}, op) values (${raw(row)}, ${mappedKeyOf(plan, row)}, ${op});`;
  const equals = 'operator(pg_catalog.=)';
  const types = plan.sourceKey.map((column) => column.type).join(', ');
  return [
    ...plan.targetKey.map(
      (column, i) =>
        `create function ${mapFunction(plan, i)}(${types}) returns ${column.type}
         language sql immutable parallel safe begin atomic select ${column.ofParameters}; end`,
    ),
    `create function ${functionName(plan, 'capture')}() returns trigger language plpgsql security definer as $capture$
     begin
       if not tg_op ${equals} 'INSERT' then
         if tg_op ${equals} 'DELETE' then
           ${log('old', `'D'`)}
         else
           ${log('old', `'U'`)}
         end if;
       end if;
       if tg_op ${equals} 'INSERT' then
         ${log('new', `'I'`)}
       elsif tg_op ${equals} 'UPDATE' then
         -- by image, not by equality: 1.0 and 1.00 are equal, and may map to different texts
         if pg_catalog.record_image_ne(row(${raw('old')}), row(${raw('new')})) then
           ${log('new', `'I'`)}
         end if;
       end if;
       return null;
     end $capture$`,
    `create function ${functionName(plan, 'refuse_truncate')}() returns trigger language plpgsql as $truncate$
     begin
       raise exception ${literal(`foreshadow: ${plan.names.source} cannot be truncated while ${occasion(plan)}`).replaceAll('%', '%%')}
         using errcode = 'object_not_in_prerequisite_state',
               hint = ${literal(`Delete the rows instead, or run: foreshadow ${plan.reverse ? 'finalize' : 'abort'} ${plan.name}`)};
     end $truncate$`,
  ];
}

/**
 * Installs both triggers, ALWAYS, so that replicated changes are seen too. Waits out every writer of the table.
 * @param partitions of the table: PostgreSQL gives each the row trigger, but not the one that refuses to truncate it alone
 */
export function captureTriggersSql(plan: TablePlan, partitions: readonly string[] = []): string[] {
  const source = plan.names.source;
  return [
    `create trigger ${captureTrigger} after insert or update or delete on ${source}
       for each row execute function ${functionName(plan, 'capture')}()`,
    `create trigger ${truncateTrigger} before truncate on ${source}
       for each statement execute function ${functionName(plan, 'refuse_truncate')}()`,
    `alter table ${source} enable always trigger ${captureTrigger}, enable always trigger ${truncateTrigger}`,
    ...partitions.flatMap((partition) => [
      `create trigger ${truncateTrigger} before truncate on ${partition}
         for each statement execute function ${functionName(plan, 'refuse_truncate')}()`,
      `alter table ${partition} enable always trigger ${truncateTrigger}`,
    ]),
  ];
}

export function dropCaptureSql(plan: TablePlan, source: string = plan.names.source): string[] {
  return [
    `drop trigger if exists ${captureTrigger} on ${source}`,
    `drop trigger if exists ${truncateTrigger} on ${source}`,
  ];
}

export function dropCaptureFunctionsSql(plan: TablePlan): string[] {
  const types = plan.sourceKey.map((column) => column.type).join(', ');
  return [
    `drop function if exists ${functionName(plan, 'capture')}()`,
    // with the triggers that partitions have of it
    `drop function if exists ${functionName(plan, 'refuse_truncate')}() cascade`,
    ...plan.targetKey.map((_, i) => `drop function if exists ${mapFunction(plan, i)}(${types})`),
  ];
}

/**
 * The identity of the capture triggers: `DISABLE TRIGGER USER` and its ENABLE would lose changes in between and drop
 * ALWAYS; both leave a new row version in pg_trigger, which this shows. Partitions have triggers of their own, and come and go
 * with rows that no trigger tells of.
 */
export function captureStampSql(sourceOid: number): string {
  return `(select string_agg(g.tgname || g.tgenabled::text || g.xmin::text, ',' order by g.tgname, g.tgrelid)
             from pg_catalog.pg_trigger g
            where g.tgrelid = any (array[${sourceOid}::oid] || array(select h.inhrelid from pg_catalog.pg_inherits h where h.inhparent = ${sourceOid}))
              and g.tgname in ('${captureTrigger}', '${truncateTrigger}'))`;
}
