import type { Pool } from 'pg';
import type { Clock } from '../../core/clock.ts';
import { codeOf, isRetryable, sqlstate } from '../../db/sqlstate.ts';
import type { Migration } from '../status.store.ts';
import { sayBlockers } from './blockers.queries.ts';
import { Blocked, type Exchange } from './exchange.ts';
import { statementForm } from './statement-form.ts';
import { endSession, type Standing, signalRight, standingInTheWay } from './terminate.queries.ts';

/** The same transaction was in the way of so many attempts, and for so many seconds: shorter ones end by themselves. */
export const patience = { attempts: 3, seconds: 5 } as const;

/** Who wants the sessions ended that stand in the way; null: nobody, which is so unless an operator says it. */
export type TerminateFor = (now: Migration) => string | null;

/** What an attempt fails with when it did not get a lock, or not in time. */
const lockFailures: readonly string[] = [
  sqlstate.lockNotAvailable,
  sqlstate.deadlockDetected,
  sqlstate.queryCanceled,
];

/** Over the attempts of one exchange: whose transactions were in the way of several, and an end to those. */
export class Terminator {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #exchange: Exchange;
  readonly #seen = new Map<string, { attempts: number; since: number }>();

  constructor(pool: Pool, clock: Clock, exchange: Exchange) {
    this.#pool = pool;
    this.#clock = clock;
    this.#exchange = exchange;
  }

  /** @returns what was done after a failed attempt, or why nothing can be, to be added to the reason; mostly '' */
  async afterFailed(error: unknown, by: string): Promise<string> {
    try {
      return await this.#look(error, by);
    } catch (failure) {
      if (isRetryable(failure)) return ''; // the next attempt looks again
      throw failure;
    }
  }

  async #look(error: unknown, by: string): Promise<string> {
    const named = error instanceof Blocked ? error.by : null;
    if (!named?.length && !lockFailures.includes(codeOf(error) ?? '')) return '';
    const said: string[] = [];
    for (const { pid, gid } of named ?? [])
      if (pid === null)
        said.push(`prepared transaction ${gid} has no session to end: commit it, or roll it back`);
    const pids = named?.flatMap(({ pid }) => (pid === null ? [] : [pid])) ?? null;
    for (const session of await standingInTheWay(this.#pool, this.#exchange.plan, pids)) {
      const done = await this.#meet(session, by);
      if (done) said.push(done);
    }
    return said.map((each) => `; ${each}`).join('');
  }

  async #meet(session: Standing, by: string): Promise<string | null> {
    const { pid, since } = session;
    if (since === null)
      return `pid ${pid} is not ended, as this role may not see its transaction: grant pg_read_all_stats to ${(await signalRight(this.#pool)).role}`;
    const now = this.#clock.now();
    const key = `${pid} ${since}`;
    const seen = this.#seen.get(key) ?? { attempts: 0, since: now };
    seen.attempts += 1;
    this.#seen.set(key, seen);
    if (seen.attempts < patience.attempts || now - seen.since < patience.seconds) return null;
    return this.#end(session, seen.attempts, by);
  }

  async #end(session: Standing, attempts: number, by: string): Promise<string | null> {
    const { pid, who, age_s, state, query } = session;
    const { kind, migration } = this.#exchange;
    const whom = sayBlockers([{ ...session, gid: null }]);
    const message = `ended the session of ${whom}, which was in the way of ${attempts} attempts, as ${by} asked`;
    const detail = {
      message,
      pid,
      user: who,
      age_s: Math.round(age_s * 10) / 10,
      state,
      query: statementForm(query),
      during: kind,
      attempts,
      by,
    };
    try {
      return (await endSession(this.#pool, migration.id, session, detail)) ? message : null;
    } catch (error) {
      if (codeOf(error) !== sqlstate.insufficientPrivilege) throw error;
      const { may, role } = await signalRight(this.#pool);
      return may
        ? `the session of pid ${pid} is not ended: only a superuser may end a superuser's (${who})`
        : `the session of pid ${pid} (${who}) is not ended, for want of a right: grant pg_signal_backend to ${role}`;
    }
  }
}
