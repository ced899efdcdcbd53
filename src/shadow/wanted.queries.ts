import type { ClientBase, Pool } from 'pg';
import { failpoint } from '../core/failpoint.ts';
import { type KeyId, keyId } from '../core/key.ts';
import type { TablePlan } from '../core/plan.ts';
import type { Stratum } from '../core/states.ts';
import { throughDeadlocks } from '../db/deadlock.ts';
import { inKeyBatches, keysAsRows, mappedAsRows, sourceHasKeyOf } from '../db/key-batches.ts';
import {
  type KeyBounds,
  mappedKeyColumns,
  mappedKeyOf,
  mappedKeyValues,
  ourKeyColumns,
  permanentRandom,
  sameMappedKey,
  sourceKey,
  sourceKeyTexts,
  withinBounds,
} from '../sync/fragments.ts';
import { inMemberRuns, lastOfRun, type StoredMember } from './members.queries.ts';

/**
 * Wants rows in the certain set. Rows that S does not have are passed over; a row that was to leave stays. Several texts
 * may name one row (1.0 and 1.00): the first counts.
 */
export async function wantCertain(
  pool: Pool,
  plan: TablePlan,
  certain: ReadonlyMap<KeyId, { readonly stratum: Stratum }>,
): Promise<void> {
  const { member, source } = plan.names;
  await inKeyBatches([...certain.keys()], plan, async (keys, ids) => {
    const rows = keysAsRows(plan, keys, 2);
    const k = plan.sourceKey.map((_, i) => `d.k${i + 1}`).join(', ');
    await pool.query(
      `insert into ${member} as old (${ourKeyColumns(plan)}, stratum, probability, u, state, since)
       select distinct on (${mappedKeyValues(plan)}) ${k}, ${mappedKeyValues(plan)}, ($1::text[])[d.n], 1,
              ${permanentRandom(plan, k)}, 'wanted', clock_timestamp()
         from ${rows.sql} d join ${source} s on ${sourceHasKeyOf(plan, 'd')}
        order by ${mappedKeyValues(plan)}, d.n
       on conflict (${mappedKeyColumns(plan)}) do update
         set stratum = excluded.stratum, probability = 1, state = case old.state when 'leaving' then 'present' else old.state end
       where old.stratum <> excluded.stratum or old.state = 'leaving'`,
      [ids.map((id) => certain.get(id)?.stratum), ...rows.values],
    );
  });
}

/** Members judged in one statement: a few milliseconds of row locks. */
const judgedAtOnce = 2000;

/** Rows that left the certain set are judged by their u: below the rate they stay as random rows, else they go. */
export async function judgeByChance(
  pool: Pool,
  plan: TablePlan,
  leaving: readonly Pick<StoredMember, 'mapped'>[],
  pi0: number,
): Promise<void> {
  const { member } = plan.names;
  const casts = plan.targetKey.map(({ type }, i) => `$${i + 2}::text[]::${type}[]`).join(', ');
  for (let at = 0; at < leaving.length; at += judgedAtOnce) {
    const some = leaving.slice(at, at + judgedAtOnce);
    await throughDeadlocks(() =>
      pool.query(
        `with d as (select * from unnest(${casts}) as d(${mappedKeyColumns(plan)})),
         unwanted as (delete from ${member} m using d where ${sameMappedKey(plan, 'm', 'd')} and m.state = 'wanted' and m.u >= $1::float8)
         update ${member} m set stratum = case when m.u < $1::float8 then 'random' else m.stratum end,
                probability = case when m.u < $1::float8 then $1::float8 else m.probability end,
                state = case when m.u < $1::float8 then m.state else 'leaving' end
           from d where ${sameMappedKey(plan, 'm', 'd')} and (m.u < $1::float8 or m.state = 'present')`,
        [pi0, ...plan.targetKey.map((_, i) => some.map(({ mapped }) => mapped[i]))],
      ),
    );
  }
}

/** Sets the rate and the room for fresh rows in all lanes at once; lanes judge inserted rows by it from then on. */
export async function setLaneSampling(
  client: ClientBase | Pool,
  plan: TablePlan,
  pi0: number,
  roomPerLane: number,
): Promise<void> {
  await (client as Pool).query('update foreshadow.lane set pi0 = $2, new_room = $3 where migration_id = $1', [
    plan.migrationId,
    pi0,
    roomPerLane,
  ]);
  await failpoint('shadow.sampling-set');
}

/**
 * Wants every row of one range whose permanent random number is below the rate, and that is not a member already. They are
 * stored in the order in which lanes admit them, which so write one page of each range for a while.
 */
export async function wantRandom(
  pool: Pool,
  plan: TablePlan,
  bounds: KeyBounds,
  from: number,
  pi0: number,
): Promise<number> {
  const { member, source } = plan.names;
  const within = withinBounds(plan, sourceKey(plan), bounds, 3);
  const u = permanentRandom(plan, sourceKey(plan));
  const { rowCount } = await throughDeadlocks(() =>
    pool.query(
      `insert into ${member} (${ourKeyColumns(plan)}, stratum, probability, u, state, since)
     select ${sourceKey(plan)}, ${mappedKeyValues(plan)}, 'random', $2::float8, ${u}, 'wanted', clock_timestamp()
       from ${source} s where ${within.sql} and ${u} < $2 and ${u} >= $1 order by ${u}
     on conflict do nothing`,
      [from, pi0, ...within.values],
    ),
  );
  await failpoint('shadow.random-wanted');
  return rowCount ?? 0;
}

/** After the rate fell: random rows at or above it go; those below it carry the new probability. */
export async function lowerRandom(pool: Pool, plan: TablePlan, pi0: number): Promise<void> {
  const { member } = plan.names;
  await throughDeadlocks(() =>
    pool.query(`delete from ${member} where stratum = 'random' and state = 'wanted' and u >= $1::float8`, [
      pi0,
    ]),
  );
  await inMemberRuns(plan, 'all', 2, async (run, values) => {
    const { rows } = await throughDeadlocks(() =>
      pool.query<{ last: string[] | null }>(
        `with ${run}, lowered as (
         update ${member} m set state = case when m.u >= $1::float8 then 'leaving' else m.state end,
                probability = least($1::float8, m.probability)
           from run where (${mappedKeyOf(plan, 'm')}) = (${mappedKeyOf(plan, 'run')})
            and m.stratum = 'random' and m.state = 'present')
       ${lastOfRun(plan)}`,
        [pi0, ...values],
      ),
    );
    return rows[0]?.last ?? null;
  });
}

export interface ChangeEvent {
  readonly id: KeyId;
  readonly op: 'I' | 'U' | 'D';
  /** seconds since the epoch */
  readonly at: number;
}

/** Captured changes at or after `since`; lanes append them as they consume the key log, a little late and in no order. */
export async function changesSince(
  pool: Pool,
  plan: TablePlan,
  since: number,
  limit: number,
): Promise<ChangeEvent[]> {
  const { rows } = await pool.query<{ key: string[]; op: ChangeEvent['op']; at: number }>(
    `select ${sourceKeyTexts(plan, 'e')} as key, e.op::text as op, extract(epoch from e.at)::float8 as at
       from ${plan.names.changeEvent} e where e.at >= to_timestamp($1::float8) order by e.at limit $2`,
    [since, limit],
  );
  return rows.map(({ key, op, at }) => ({
    id: keyId(key),
    op,
    at,
  }));
}

/** Captured changes older than `before` (seconds since the epoch) are of no use to features or change rate. */
export async function forgetChanges(pool: Pool, plan: TablePlan, before: number): Promise<void> {
  await pool.query(`delete from ${plan.names.changeEvent} where at < to_timestamp($1::float8)`, [before]);
}

/**
 * Adds priorities up by range: the hottest range is copied first. Rows that the target has already count for nothing, and
 * so do keys that no row has.
 */
export async function setRangeHeat(
  pool: Pool,
  plan: TablePlan,
  keys: readonly KeyId[],
  priority: Float64Array,
): Promise<void> {
  const { range } = plan.names;
  await pool.query(`update ${range} set heat = 0`);
  let at = 0;
  const index = new Map(keys.map((key) => [key, at++]));
  const low = plan.sourceKey.map((_, i) => `r.lo_k${i + 1}`).join(', ');
  const high = plan.sourceKey.map((_, i) => `r.hi_k${i + 1}`).join(', ');
  const k = plan.sourceKey.map((_, i) => `d.k${i + 1}`).join(', ');
  await inKeyBatches(keys, plan, async (batch, ids) => {
    const rows = mappedAsRows(plan, batch, 2);
    await pool.query(
      `update ${range} t set heat = t.heat + h.heat from (
         select r.range_id, sum(($1::float8[])[d.n]) as heat from ${rows.sql} d join ${range} r
             on (r.lo_k1 is null or (${k}) > (${low})) and (r.hi_k1 is null or (${k}) <= (${high}))
          where not exists (select from ${plan.names.member} m where ${sameMappedKey(plan, 'm', 'd')} and m.state = 'present')
          group by r.range_id) h
        where t.range_id = h.range_id`,
      [ids.map((id) => priority[index.get(id) as number]), ...rows.values],
    );
  });
}
