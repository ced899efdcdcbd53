import type { Pool } from 'pg';
import { ForeshadowError } from '../core/errors.ts';
import type { Key } from '../core/key.ts';
import type { TablePlan } from '../core/plan.ts';
import type { Stratum } from '../core/states.ts';
import { ident } from '../db/ident.ts';
import { codeOf } from '../db/sqlstate.ts';
import { permanentRandom, rowsMatch, sourceKey } from '../sync/fragments.ts';

export interface MemberExplanation {
  readonly in_source: boolean;
  readonly in_target: boolean;
  readonly state: 'wanted' | 'present' | 'leaving' | null;
  readonly stratum: Stratum | null;
  readonly probability: number | null;
  /** the key's permanent random number; null when the source does not have the row */
  readonly u: number | null;
  /** the rate of the random remainder */
  readonly pi0: number;
  /** its changes that no lane has refreshed yet */
  readonly pending: number;
  readonly because: string;
}

const why: Readonly<Record<Stratum, string>> = {
  predictive: 'the model expects it to be used within the next horizon',
  frequency: 'it is used often in the long run',
  change: 'it changes often',
  new: 'it was inserted since the last choice',
  incumbent: 'it was chosen before, and is not yet weak enough to be replaced',
  random: 'its permanent random number is below the rate of the random remainder',
};

/** @throws ForeshadowError USAGE when the key does not fit the source's key */
export async function explainMember(pool: Pool, plan: TablePlan, key: Key): Promise<MemberExplanation> {
  if (key.length !== plan.sourceKey.length) {
    throw new ForeshadowError(
      'USAGE',
      `the key has ${plan.sourceKey.length} columns: ${plan.sourceKey.map((c) => c.name).join(', ')}`,
    );
  }
  const { source, target, member, keyLog } = plan.names;
  const bound = plan.sourceKey.map((column, i) => `$${i + 2}::${column.type}`);
  const ofOurs = (alias: string) => bound.map((value, i) => `${alias}.k${i + 1} = ${value}`).join(' and ');
  const ofSource = plan.sourceKey.map((column, i) => `s.${ident(column.name)} = ${bound[i]}`).join(' and ');
  try {
    const { rows } = await pool.query<Omit<MemberExplanation, 'because'>>(
      `select exists (select 1 from ${source} s where ${ofSource}) as in_source,
              exists (select 1 from ${source} s join ${target} t on ${rowsMatch(plan)} where ${ofSource}) as in_target,
              m.state, m.stratum, m.probability,
              (select ${permanentRandom(plan, sourceKey(plan))} from ${source} s where ${ofSource}) as u,
              (select max(pi0) from foreshadow.lane where migration_id = $1) as pi0,
              (select count(*)::int from ${keyLog} l where ${ofOurs('l')}) as pending
         from (values (1)) one left join ${member} m on ${ofOurs('m')}`,
      [plan.migrationId, ...key],
    );
    const found = rows[0] as (typeof rows)[0];
    return { ...found, because: reason(found) };
  } catch (error) {
    if (!codeOf(error)?.startsWith('22')) throw error;
    throw new ForeshadowError(
      'USAGE',
      `not a key of ${source}: ${(error as Error).message}`,
      {},
      { cause: error },
    );
  }
}

function reason(found: Omit<MemberExplanation, 'because'>): string {
  if (!found.in_source) return 'out: the source has no such row';
  if (found.stratum === null) {
    if (found.in_target) return 'in: the copy has passed it';
    return 'out: no ranking chose it, and its permanent random number is not below the rate of the random remainder';
  }
  if (found.state === 'leaving') return 'on its way out: the last choice left it out';
  return `${found.state === 'wanted' ? 'wanted, not yet copied' : 'in'}: ${why[found.stratum]}`;
}
