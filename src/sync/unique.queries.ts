import type { ClientBase } from 'pg';
import { ForeshadowError } from '../core/errors.ts';
import { failpoint } from '../core/failpoint.ts';
import type { TablePlan } from '../core/plan.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import { mappedKeyOf, sourceKeyOf, targetMatches } from './fragments.ts';
import { insertByKeys, keyTexts } from './keys.queries.ts';
import { keepEventsSql, type Refreshed, requireMapped, unmappedSql } from './refresh.queries.ts';

/** Tries before a collision counts as real: each gives in-flight owners of a value time to show up in the key log. */
const attempts = 5;

/**
 * Mode UNIQUE: T has unique indexes beside its key, so two rows that swapped a value would collide in one statement.
 * One lane refreshes all keys in two statements: log rows and T rows go first, then f(S) comes in at a later snapshot.
 * That is safe, since whatever changes in between has a log row of its own. If a value is still taken, every T row
 * whose key is in the key log steps aside (the overlay reads those keys from S, and refresh brings them back).
 * @throws ForeshadowError UNIQUE_VIOLATED when the owner of the value is not dirty: then the data breaks the index
 */
export async function refreshUnique(client: ClientBase, plan: TablePlan, limit: number): Promise<Refreshed> {
  const { keyLog, target } = plan.names;
  const keys = `${sourceKeyOf(plan, 'l')}, ${mappedKeyOf(plan, 'l')}`;
  const taken = await client.query<{
    dirty: string[][];
    taken: number;
    lags: number[];
    unmapped: string[];
  }>(
    `with taken as (
       delete from ${keyLog} l where l.ctid = any (array(select l.ctid from ${keyLog} l limit $1)) returning ${keys}, l.op, l.at),
     ${keepEventsSql(plan)}
     dirty as (select distinct on (${mappedKeyOf(plan, 'l')}) ${keys} from taken l order by ${mappedKeyOf(plan, 'l')}),
     gone as (delete from ${target} t using dirty d where ${targetMatches(plan, 'd')} returning 1)
     select coalesce(array_agg(${keyTexts(plan, 'd')}), '{}') as dirty,
            (select count(*) from taken)::int as taken,
            array(select extract(epoch from clock_timestamp() - at)::float8 from taken limit 32) as lags,
            ${unmappedSql(plan)}
       from dirty d`,
    [limit],
  );
  const row = taken.rows[0] as (typeof taken.rows)[0];
  requireMapped(plan, row.unmapped);
  if (!row.taken) return { taken: 0, refreshed: 0, admitted: 0, lags: [] };
  await failpoint('unique.taken');
  // A deferred constraint would speak up at the commit, when it is too late to step aside.
  await client.query('set constraints all immediate');
  for (let attempt = 1; ; attempt++) {
    await client.query('savepoint refresh');
    try {
      const refreshed = await insertByKeys(client, plan, row.dirty);
      await failpoint('unique.brought');
      return { taken: row.taken, refreshed, admitted: 0, lags: row.lags };
    } catch (error) {
      if (codeOf(error) !== sqlstate.uniqueViolation) throw error;
      await client.query('rollback to savepoint refresh');
      await failpoint('unique.collided');
      const aside = await client.query(
        `delete from ${target} t where exists (select 1 from ${keyLog} l where ${targetMatches(plan, 'l')})`,
      );
      if (!aside.rowCount && attempt >= attempts) throw uniqueViolated(error);
    }
  }
}

function uniqueViolated(error: unknown): ForeshadowError {
  const { detail, constraint } = error as { detail?: string; constraint?: string };
  return new ForeshadowError(
    'UNIQUE_VIOLATED',
    `rows of the source break the unique index ${constraint ?? ''} of the target: ${detail ?? (error as Error).message}`,
    { constraint: constraint ?? null, detail: detail ?? null },
    { cause: error },
  );
}
