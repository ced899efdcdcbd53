import type { Pool } from 'pg';
import { type KeyId, keyId } from '../core/key.ts';
import type { TablePlan } from '../core/plan.ts';
import type { Stratum } from '../core/states.ts';
import { inKeyBatches, mappedAsRows } from '../db/key-batches.ts';
import { mappedKeyOf, sameMappedKey, sourceKeyTexts } from '../sync/fragments.ts';

/** Members looked at in one statement: few enough for a snapshot of a fraction of a second. */
const membersAtOnce = 50_000;

/** Which members to go through. The certain ones have an index of their own, so that the others cost nothing. */
export type Which = 'certain' | 'all';

/**
 * Goes through members in order of mapped key, some in each statement.
 * @param work gets `run as (…)`, the next of them, whose parameters begin at `first`; it answers with the last key of the run
 */
export async function inMemberRuns(
  plan: TablePlan,
  which: Which,
  first: number,
  work: (run: string, values: string[]) => Promise<string[] | null>,
): Promise<void> {
  const key = mappedKeyOf(plan, 'm');
  for (let after: string[] | null = []; after; ) {
    const types = plan.targetKey.map(({ type }, i) => `$${i + first}::${type}`).join(', ');
    const past = after.length ? `(${key}) > (${types})` : 'true';
    const certain = which === 'certain' ? `m.stratum <> 'random'` : 'true';
    const run = `run as materialized (select m.* from ${plan.names.member} m where ${certain} and ${past} order by ${key} limit ${membersAtOnce})`;
    after = await work(run, after);
  }
}

const mappedTexts = (plan: TablePlan) => plan.targetKey.map((_, i) => `run.m${i + 1}::text`).join(', ');

/** The last key of a whole run; null where the members are at their end. */
export const lastOfRun = (plan: TablePlan) =>
  `select (select array[${mappedTexts(plan)}] from run order by ${mappedKeyOf(plan, 'run')} offset ${membersAtOnce - 1}) as last`;

export type MemberState = 'wanted' | 'present' | 'leaving';

export interface StoredMember {
  readonly id: KeyId;
  /** its mapped key as texts, by which it is found again */
  readonly mapped: readonly string[];
  readonly stratum: Stratum;
  readonly state: MemberState;
  /** seconds since the epoch */
  readonly since: number;
}

/** The certain set as it is stored, rows on their way out included; or all members. Read in runs, each in a snapshot of its own. */
export async function storedMembers(pool: Pool, plan: TablePlan, which: Which): Promise<StoredMember[]> {
  const found: StoredMember[] = [];
  await inMemberRuns(plan, which, 1, async (run, values) => {
    const { rows } = await pool.query<{
      key: string[];
      mapped: string[];
      stratum: Stratum;
      state: MemberState;
      since: number;
    }>(
      `with ${run}
       select ${sourceKeyTexts(plan, 'run')} as key, array[${mappedTexts(plan)}] as mapped, run.stratum, run.state,
              extract(epoch from run.since)::float8 as since
         from run order by ${mappedKeyOf(plan, 'run')}`,
      values,
    );
    for (const { key, ...rest } of rows) found.push({ ...rest, id: keyId(key) });
    return rows.length < membersAtOnce ? null : (rows.at(-1)?.mapped ?? null);
  });
  return found;
}

/** Which of some keys are members in one of some states, and why; for shadows that are too large to be read whole. */
export async function membersAmong(
  pool: Pool,
  plan: TablePlan,
  ids: readonly KeyId[],
  states: readonly MemberState[],
): Promise<Map<KeyId, Stratum>> {
  const found = new Map<KeyId, Stratum>();
  await inKeyBatches(ids, plan, async (keys, asked) => {
    const rows = mappedAsRows(plan, keys, 2);
    const members = await pool.query<{ n: number; stratum: Stratum }>(
      `select d.n::int as n, m.stratum from ${rows.sql} d join ${plan.names.member} m on ${sameMappedKey(plan, 'm', 'd')}
        where m.state = any ($1::text[])`,
      [states, ...rows.values],
    );
    for (const { n, stratum } of members.rows) found.set(asked[n - 1] as KeyId, stratum);
  });
  return found;
}

/** Whether there are more members than so many, in any state; it reads that many at most. */
export async function moreMembersThan(pool: Pool, plan: TablePlan, limit: number): Promise<boolean> {
  const { rows } = await pool.query<{ more: boolean }>(
    `select count(*) > $1::int as more from (select from ${plan.names.member} limit $1::int + 1) m`,
    [limit],
  );
  return rows[0]?.more ?? false;
}

export interface ShadowCounts {
  /** members that are to be in the target, those of them that are, and those that are to leave it */
  readonly wanted: number;
  readonly present: number;
  readonly leaving: number;
  /** present members of each stratum */
  readonly strata: Readonly<Record<string, number>>;
}

/** Bytes of members (about 700,000) that are counted one by one. Of more, the random ones are estimated from so many. */
const countedBytes = 64 << 20;
/** Absent random members up to here are counted however many there are in all, so that the end of a fill is exact. */
const countedAbsent = 100_000;

/**
 * How complete the shadow is. Exact, except for the random members of a large one: these are counted in blocks drawn by
 * chance (TABLESAMPLE SYSTEM), and exactly again where few of them are absent.
 */
export async function shadowCounts(
  pool: Pool,
  plan: TablePlan,
  counted = countedBytes,
): Promise<ShadowCounts> {
  const { member } = plan.names;
  const size = await pool.query<{ bytes: number }>('select pg_relation_size($1)::float8 as bytes', [member]);
  const share = Math.min(1, counted / Math.max(1, size.rows[0]?.bytes ?? 0));
  const counts = `count(*) filter (where state <> 'leaving')::float8 as wanted,
                  count(*) filter (where state = 'present')::float8 as present,
                  count(*) filter (where state = 'leaving')::float8 as leaving`;
  const { rows } = await pool.query<{ stratum: string; wanted: number; present: number; leaving: number }>(
    share === 1
      ? `select stratum, ${counts} from ${member} group by stratum`
      : `select stratum, ${counts} from ${member} where stratum <> 'random' group by stratum
         union all
         select 'random', wanted / ${share}, present / ${share}, leaving / ${share}
           from (select ${counts} from ${member} tablesample system (${share * 100}) where stratum = 'random') drawn`,
  );
  if (share < 1) {
    const absent = await absentRandom(pool, plan, countedAbsent);
    const random = rows.find(({ stratum }) => stratum === 'random');
    if (random && absent !== null) random.present = Math.max(0, random.wanted - absent);
  }
  const sum = (name: 'wanted' | 'present' | 'leaving') =>
    Math.round(rows.reduce((total, row) => total + row[name], 0));
  return {
    wanted: sum('wanted'),
    present: sum('present'),
    leaving: sum('leaving'),
    strata: Object.fromEntries(rows.map((row) => [row.stratum, Math.round(row.present)])),
  };
}

/** @returns null where there are more than `most` */
async function absentRandom(pool: Pool, plan: TablePlan, most: number): Promise<number | null> {
  const { rows } = await pool.query<{ n: number }>(
    `select count(*)::int as n from (
       select from ${plan.names.member} where state = 'wanted' and (stratum = 'random') is true limit $1::int + 1) m`,
    [most],
  );
  const { n = 0 } = rows[0] ?? {};
  return n > most ? null : n;
}
