import type { ClientBase } from 'pg';
import type { TablePlan } from '../../core/plan.ts';
import { ident, literal } from '../../db/ident.ts';
import { captureTriggersSql } from '../../sync/capture.ts';
import { stampSql } from '../../sync/lane.queries.ts';
import type { TableName } from '../cutover/move.ts';
import { indexesAndSequences } from '../cutover/names.ts';
import { partitionsOf } from '../preflight/partitions.ts';
import type { Migration } from '../status.store.ts';

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
  const state = { plan: wayBack, relations: await indexesAndSequences(client, plan.sourceOid) };
  const partitions = await partitionsOf(client, plan.targetOid);
  return [
    ...captureTriggersSql(
      wayBack,
      partitions.map(({ schema, name }) => ident(schema, name)),
    ),
    `insert into foreshadow.lane (migration_id, direction, lane, mode) values (${id}, 'back', 0, 'UNIQUE')`,
    `update foreshadow.migration_status
        set physical = jsonb_set(physical, '{wayBack}', ${literal(JSON.stringify(state))}::jsonb
              || jsonb_build_object('stamp', (select to_jsonb(x) from (select ${stampSql(wayBack)}) x)))
      where id = ${id}`,
  ];
}
