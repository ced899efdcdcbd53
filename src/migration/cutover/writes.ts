import type { Client, Pool } from 'pg';
import type { MigrationFile } from '../../config/migration-file.ts';
import type { Clock } from '../../core/clock.ts';
import { ForeshadowError } from '../../core/errors.ts';
import { codeOf, isRetryable, sqlstate } from '../../db/sqlstate.ts';
import { getMigration, type Migration } from '../status.store.ts';
import { briefStop, easedSwap } from './attempt.ts';
import { statementSnapshotReaders } from './blockers.queries.ts';
import { Blocked, type Exchange, StaleName, writeCutover } from './exchange.ts';
import { type TerminateFor, Terminator } from './terminate.ts';

/** Attempts that let readers go on, before one that stops everybody for a moment is allowed. */
const easedAttempts = 3;

export interface CutoverOptions {
  readonly pool: Pool;
  readonly connect: () => Promise<Client>;
  readonly clock: Clock;
  readonly maxAttempts: number;
  readonly signal?: AbortSignal;
  readonly onWait: (reason: string) => Promise<void>;
  /** asked after each failed attempt, with the migration as it is then; absent: no session is ever ended */
  readonly terminateFor?: TerminateFor;
}

/**
 * IN_PROGRESS → COMPLETED: writers are held back for a moment, the key log is drained to zero, and names change.
 * @throws ForeshadowError CUTOVER_BLOCKED after `maxAttempts`, naming who stood in the way
 */
export function cutOverWrites(migration: Migration, options: CutoverOptions): Promise<Migration> {
  return changePlaces(writeCutover(migration), options);
}

const spoken = { cutover: 'write cutover', rollback: 'rollback' } as const;

/**
 * Attempts are bounded by the budget and repeated with growing pauses; each failed one changes nothing.
 * @throws ForeshadowError CUTOVER_BLOCKED after `maxAttempts`, naming who stood in the way
 */
export async function changePlaces(exchange: Exchange, options: CutoverOptions): Promise<Migration> {
  const { migration } = exchange;
  const { isolation } = migration.definition.cutover;
  const what = spoken[exchange.kind];
  const terminator = new Terminator(options.pool, options.clock, exchange);
  let readers: string[] = [];
  let stale = '';
  for (let attempt = 1; ; attempt++) {
    const client = await options.connect();
    try {
      readers = await statementSnapshotReaders(client, exchange.plan);
      const stop = isolation === 'read-committed' && attempt > easedAttempts && !readers.length;
      const swap = stop ? briefStop : easedSwap;
      return await swap(client, exchange, options.pool, attempt);
    } catch (error) {
      await client.query('rollback').catch(() => undefined);
      // The answer to COMMIT may be lost, or another process was quicker, which to us looks as if capture had been dropped.
      // The status row, written in the same transaction, knows.
      const now = await getMigration(options.pool, migration.name).catch(() => null);
      if (now?.status === exchange.to) return now;
      const again =
        error instanceof Blocked || isRetryable(error) || codeOf(error) === sqlstate.queryCanceled;
      if (!again) throw error;
      if (error instanceof StaleName) {
        // the same name again: nobody is about to give it up, and everybody would be stopped for nothing
        if (error.message === stale) throw new ForeshadowError('CONFLICT', `${what}: ${stale}`);
        stale = error.message;
      }
      const by = now && options.terminateFor?.(now);
      const done = by ? await terminator.afterFailed(error, by) : '';
      const why =
        error instanceof Blocked
          ? error.message
          : `${(error as Error).message} (${codeOf(error) ?? 'connection'})${advice(error, isolation, readers)}`;
      const reason = `${why}${done}`;
      if (attempt >= options.maxAttempts) {
        throw new ForeshadowError(
          'CUTOVER_BLOCKED',
          `${what} did not get through in ${attempt} attempts: ${reason}`,
        );
      }
      await options.onWait(`${what}, attempt ${attempt}: ${reason}`);
    } finally {
      await client.end().catch(() => undefined);
    }
    const pause = Math.min(5000, 50 * 2 ** Math.min(7, attempt));
    await options.clock.sleep(pause * (0.5 + Math.random() / 2), options.signal);
  }
}

/** Transactions that read the table and then write it hold the one lock and wait for the other, and so do we. */
function advice(
  error: unknown,
  isolation: MigrationFile['cutover']['isolation'],
  readers: readonly string[],
): string {
  const readersStay =
    codeOf(error) === sqlstate.deadlockDetected || codeOf(error) === sqlstate.lockNotAvailable;
  if (!readersStay) return '';
  if (isolation === 'read-committed') {
    if (!readers.length) return '';
    return `; a brief stop would let it through, but could give old rows to functions that are not VOLATILE and may read the table: ${readers.slice(0, 5).join(', ')}`;
  }
  return '; if the application uses READ COMMITTED only, set cutover.isolation to "read-committed"';
}
