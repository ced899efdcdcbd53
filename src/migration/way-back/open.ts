import type { ClientBase } from 'pg';
import type { TablePlan } from '../../core/plan.ts';
import { ident, literal } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import { captureTriggersSql } from '../../sync/capture.ts';
import { stampSql } from '../../sync/lane.queries.ts';
import type { TableName } from '../cutover/move.ts';
import type { Migration } from '../status.store.ts';
import type { NamedRelation } from './state.ts';

/**
 * The end of the swap, in its transaction: from its commit on, every change of T has a row in the key log of the way
 * back, and the old table is what T was made of. There is no moment in between in which a change could be missed.
 * @param now where T stands by then
 * @param old where S stands by then
 */
export async function openWayBackSql(
  client: ClientBase,
  { id, plan, physical }: Migration,
  now: TableName,
  old: TableName,
): Promise<string[]> {
  if (!plan.wayBack || !physical?.wayBackPrepared) return [];
  const names = {
    ...plan.wayBack.names,
    source: ident(now.schema, now.name),
    target: ident(old.schema, old.name),
  };
  const wayBack: TablePlan = { ...plan.wayBack, names };
  const state = { plan: wayBack, relations: await relationsOf(client, plan.sourceOid) };
  return [
    ...captureTriggersSql(wayBack),
    `insert into foreshadow.lane (migration_id, direction, lane, mode) values (${id}, 'back', 0, 'UNIQUE')`,
    `update foreshadow.migration_status
        set physical = jsonb_set(physical, '{wayBack}', ${literal(JSON.stringify(state))}::jsonb
              || jsonb_build_object('stamp', (select to_jsonb(x) from (select ${stampSql(wayBack)}) x)))
      where id = ${id}`,
  ];
}

/** Indexes and sequences of a table, under the names that they have before the swap renames some of them. */
async function relationsOf(client: ClientBase, table: number): Promise<NamedRelation[]> {
  const { rows } = await client.query<NamedRelation>(
    prepared(
      `select c.oid::int8::float8 as oid, c.relname as name, case c.relkind when 'S' then 'sequence' else 'index' end as kind
         from pg_class c
        where c.oid in (select indexrelid from pg_index where indrelid = $1
                        union all
                        select objid from pg_depend where classid = 'pg_class'::regclass
                           and refclassid = 'pg_class'::regclass and refobjid = $1 and deptype in ('a', 'i'))
          and c.relkind in ('i', 'S') order by 1`,
      [table],
    ),
  );
  return rows;
}
