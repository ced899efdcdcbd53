import type { ClientBase, Pool } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import { fingerprintSql } from '../db/catalog.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import { captureStampSql } from './capture.ts';
import { type KeyRange, nextRangeSql } from './chunk.queries.ts';
import type { KeyBounds } from './fragments.ts';

/** The lanes of a plan, among those of its migration: the way back has lanes of its own. */
export type LanesOf = Pick<TablePlan, 'migrationId' | 'reverse'>;
const ofPlan = (plan: LanesOf, alias: string) =>
  `${alias}.migration_id = ${plan.migrationId} and ${alias}.direction = '${plan.reverse ? 'back' : 'forward'}'`;

export type LaneMode = 'SHADOWING' | 'IN_PROGRESS' | 'UNIQUE' | 'STOPPED';

/** What must not change while lanes run: the capture triggers and the columns of both tables. */
export interface LaneStamp {
  readonly capture: string | null;
  readonly source: string | null;
  readonly target: string | null;
}

export interface Fence extends LaneStamp {
  readonly mode: LaneMode;
  readonly pi0: number;
  readonly newRoom: number;
  readonly wanted: boolean;
  readonly leaving: boolean;
  /** the key log holds rows, of this lane or of others */
  readonly logged: boolean;
  /** what to copy next; null: all is copied */
  readonly next: KeyRange | null;
}

export function stampSql(plan: Pick<TablePlan, 'sourceOid' | 'targetOid'>): string {
  return `${captureStampSql(plan.sourceOid)} as capture, ${fingerprintSql(plan.sourceOid)} as source,
          ${fingerprintSql(plan.targetOid)} as target`;
}

/**
 * Whether members wait, asked only while a shadow is kept. In the order of the index, so that it is used whatever the statistics
 * say: those of a shadow that is being filled are soon wrong, and a scan of all members in each transaction of a lane took most
 * of its time.
 */
const anyMember = (plan: TablePlan, state: 'wanted' | 'leaving') =>
  `case when l.mode = 'SHADOWING' then (select true from ${plan.names.member} where state = '${state}'
                                         order by (stratum = 'random'), u limit 1) is not null else false end`;

/** What {@link fence} executes, once for each connection: planning it costs more than running it. */
export async function prepareFence(client: ClientBase, plan: TablePlan, lane: number): Promise<void> {
  await client.query(
    `prepare foreshadow_fence (bigint) as
     select l.mode, l.pi0, l.new_room as "newRoom", ${stampSql(plan)},
            ${anyMember(plan, 'wanted')} as wanted, ${anyMember(plan, 'leaving')} as leaving
       from foreshadow.lane l
      where ${ofPlan(plan, 'l')} and l.lane = ${lane} and l.epoch = $1
        for update of l nowait`,
  );
  await client.query(
    `prepare foreshadow_work as
     select exists (select 1 from ${plan.names.keyLog}) as logged, n.*
       from (values (1)) one left join (${nextRangeSql(plan, lane)}) n on true`,
  );
}

/**
 * Begins a lane transaction: isolation written out, S locked against DDL first (the order that TRUNCATE and the cutover
 * use too), then the lane's own row, which also tells the mode. What there is to do is asked in a statement of its own,
 * whose snapshot is later than the lock. One round trip.
 * @returns null when the lane is no longer ours; the transaction is open either way
 */
export async function fence(client: ClientBase, plan: TablePlan, epoch: number): Promise<Fence | null> {
  const results = (await client.query(
    `begin isolation level read committed read write;
     lock table ${plan.names.source} in access share mode;
     execute foreshadow_fence (${epoch});
     execute foreshadow_work`,
  )) as unknown as { rows: unknown[] }[];
  const held = results[2]?.rows[0] as Fence | undefined;
  const work = results[3]?.rows[0] as { logged: boolean } & { [K in keyof KeyRange]: KeyRange[K] | null };
  if (!held) return null;
  return { ...held, logged: work.logged, next: work.rangeId === null ? null : (work as KeyRange) };
}

/**
 * Makes this session the holder of a lane, and every earlier one a zombie, by moving the epoch. If the row is locked,
 * its recorded holder is a backend of ours that hangs: it is terminated, and only it.
 * @param expectedEpoch take it only if nobody else has taken it since
 * @returns the new epoch; 0 when `expectedEpoch` no longer holds
 */
export async function takeLane(
  client: ClientBase,
  plan: LanesOf,
  lane: number,
  expectedEpoch?: number,
): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    try {
      await client.query('begin isolation level read committed read write');
      await client.query("set local lock_timeout = '200ms'");
      const { rows } = await client.query<{ epoch: number }>(
        `update foreshadow.lane l set epoch = epoch + 1, holder_pid = pg_backend_pid(),
                holder_backend_start = (select backend_start from pg_stat_get_activity(pg_backend_pid()))
          where ${ofPlan(plan, 'l')} and lane = $1 and epoch = coalesce($2, epoch) returning epoch::int`,
        [lane, expectedEpoch ?? null],
      );
      await client.query('commit');
      return rows[0]?.epoch ?? 0;
    } catch (error) {
      await client.query('rollback').catch(() => undefined);
      if (codeOf(error) !== sqlstate.lockNotAvailable || attempt >= 20) throw error;
      await client.query(
        `select pg_terminate_backend(a.pid) from foreshadow.lane l
           join pg_stat_activity a on a.pid = l.holder_pid and a.backend_start = l.holder_backend_start
          where ${ofPlan(plan, 'l')} and l.lane = $1`,
        [lane],
      );
    }
  }
}

/** Who took a lane last, alive or not. */
export async function laneHolder(
  client: ClientBase,
  plan: LanesOf,
  lane: number,
): Promise<{ epoch: number; pid: number }> {
  const { rows } = await client.query<{ epoch: number; pid: number }>(
    `select epoch::int, coalesce(holder_pid, 0) as pid from foreshadow.lane l where ${ofPlan(plan, 'l')} and lane = $1`,
    [lane],
  );
  return rows[0] ?? { epoch: 0, pid: 0 };
}

/** The sessions that hold lanes of this plan right now. */
export async function liveHolders(
  pool: Pool,
  plan: LanesOf,
): Promise<{ lane: number; pid: number; since: Date; application: string }[]> {
  const { rows } = await pool.query(
    `select l.lane, a.pid, a.backend_start as since, a.application_name as application
       from foreshadow.lane l
       join pg_stat_activity a on a.pid = l.holder_pid and a.backend_start = l.holder_backend_start
      where ${ofPlan(plan, 'l')} order by l.lane`,
  );
  return rows;
}

export async function countLanes(pool: Pool, plan: LanesOf): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    `select count(*)::int as n from foreshadow.lane l where ${ofPlan(plan, 'l')}`,
  );
  return rows[0]?.n ?? 0;
}

/**
 * Changes the mode of all lanes in one transaction (the caller's). It waits for running lane transactions, so after
 * the commit no lane works in the old mode.
 */
export async function setLaneMode(client: ClientBase, plan: TablePlan, mode: LaneMode): Promise<void> {
  await client.query(
    `update foreshadow.lane u set mode = $1 where ${ofPlan(plan, 'u')} and u.lane in (
       select l.lane from foreshadow.lane l where ${ofPlan(plan, 'l')} order by l.lane for update)`,
    [mode],
  );
  if (mode === 'SHADOWING') {
    // Keys passed before may have changed without being refreshed from now on: copy again from the start.
    const cursors = plan.sourceKey.map((_, i) => `cur_k${i + 1} = null`).join(', ');
    await client.query(`update ${plan.names.range} set ${cursors}, done = false, copied = 0`);
  }
}

/** What the lanes of a plan are doing; they all do the same. */
export async function laneMode(client: ClientBase, plan: LanesOf): Promise<LaneMode> {
  const { rows } = await client.query<{ mode: LaneMode }>(
    `select l.mode from foreshadow.lane l where ${ofPlan(plan, 'l')} limit 1`,
  );
  return rows[0]?.mode ?? 'STOPPED';
}

/** Whether every range has been copied, and how many source rows were passed. */
export async function copyProgress(
  client: ClientBase | Pool,
  plan: TablePlan,
): Promise<{ done: boolean; copied: number; ranges: number }> {
  const { rows } = await (client as Pool).query<{ done: boolean; copied: number; ranges: number }>(
    `select coalesce(bool_and(done), false) as done, coalesce(sum(copied), 0)::float8 as copied, count(*)::int as ranges
       from ${plan.names.range}`,
  );
  return rows[0] as { done: boolean; copied: number; ranges: number };
}

/** Bounds of what is copied of some range; null before there is one. */
export async function aCopiedStretch(client: ClientBase, plan: TablePlan): Promise<KeyBounds | null> {
  const side = (name: string) =>
    `case when ${name}_k1 is not null then array[${plan.sourceKey.map((_, i) => `${name}_k${i + 1}::text`).join(', ')}] end`;
  const { rows } = await client.query<KeyBounds>(
    `select ${side('lo')} as low, case when done then ${side('hi')} else ${side('cur')} end as high
       from ${plan.names.range} where done or cur_k1 is not null order by random() limit 1`,
  );
  return rows[0] ?? null;
}

/** Log rows that wait for a lane. */
export async function backlog(client: ClientBase | Pool, plan: TablePlan): Promise<number> {
  const { rows } = await (client as Pool).query<{ n: number }>(
    `select count(*)::float8 as n from ${plan.names.keyLog}`,
  );
  return rows[0]?.n ?? 0;
}
