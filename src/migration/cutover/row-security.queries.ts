import type { ClientBase } from 'pg';
import type { TablePlan } from '../../core/plan.ts';

/** Whether row security is on for S or T: then the overlay is for their owner alone. */
export async function hasRowSecurity(
  client: ClientBase,
  plan: Pick<TablePlan, 'sourceOid' | 'targetOid'>,
): Promise<boolean> {
  const { rowCount } = await client.query(
    'select from pg_class where oid = any ($1::oid[]) and relrowsecurity',
    [[plan.sourceOid, plan.targetOid]],
  );
  return Boolean(rowCount);
}
