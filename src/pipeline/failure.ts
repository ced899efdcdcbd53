import { ForeshadowError } from '../core/errors.ts';
import { isConnectionError } from '../db/sqlstate.ts';
import { fulfilOrder } from '../migration/orders.ts';
import { requireUnchanged, sayChange } from '../migration/resume.ts';
import { isOver } from '../migration/states.ts';
import { moveStatus, updateStatus } from '../migration/status.store.ts';
import type { Run } from './run.ts';

/** A server that restarts is back within this many seconds; one that is not needs somebody to look. */
const patience = 120;

/** Runs a turn; when the database is away, waits and lets the caller try again. */
export async function outlast(run: Run, turn: () => Promise<void>): Promise<void> {
  try {
    await turn();
    run.lostSince = null;
  } catch (error) {
    if (!isConnectionError(error) || run.options.signal?.aborted) throw error;
    run.lostSince ??= run.at;
    const away = run.at - run.lostSince;
    if (away > patience) {
      const message = `the database has not answered for ${Math.round(away)} s: ${(error as Error).message}`;
      throw new ForeshadowError('DATABASE_UNREACHABLE', message, {}, { cause: error });
    }
    run.emit({ type: 'wait', reason: 'the database does not answer; trying again', at: run.at });
    await run.ctx.clock.sleep(Math.min(5000, 250 * 2 ** Math.min(5, away)), run.options.signal);
  }
}

/**
 * The end of a run that did not reach its goal: what concerns the migration is written to its status row, for the next
 * run to go on from. Returns when the migration was aborted by somebody else meanwhile.
 * @throws the error, in the words of the catalogue where it has some
 */
export async function giveUp(run: Run, thrown: unknown): Promise<void> {
  const { name } = run.migration;
  if (run.options.signal?.aborted)
    throw new ForeshadowError('INTERRUPTED', `migration ${name} was interrupted`);
  const now = await run.refresh().catch(() => null); // the database may be what failed
  if (now && isOver(now.status)) return;
  const error = now ? await explain(run, thrown) : thrown;
  if (!now || !(error instanceof ForeshadowError) || !concernsTheMigration(error)) throw error;
  await fail(run, error);
  throw error;
}

/** Statements beside the lanes meet a renamed table or column too, and fail with PostgreSQL's own error. */
async function explain(run: Run, thrown: unknown): Promise<unknown> {
  if (thrown instanceof ForeshadowError) return sayWhatChanged(run, thrown);
  if (isConnectionError(thrown)) return thrown;
  try {
    await requireUnchanged(run.ctx.pool, run.migration);
    return thrown;
  } catch (change) {
    return change instanceof ForeshadowError ? change : thrown;
  }
}

/** A second runner, a lost connection or an unreadable log says nothing about the migration itself. */
function concernsTheMigration(error: ForeshadowError): boolean {
  const others = [
    'DATABASE_UNREACHABLE',
    'ALREADY_RUNNING',
    'INTERRUPTED',
    'CONFLICT',
    'CUTOVER_BLOCKED',
    'LOG_UNREADABLE',
    'NO_WAY_BACK',
  ];
  return !others.includes(error.code);
}

/** A failure that is written to the status row; the state it failed from is kept, so that run can go on from there. */
async function fail(run: Run, error: ForeshadowError): Promise<void> {
  const { status } = await run.refresh();
  if (status === 'FAILED' || status === 'PAUSED' || status === 'ABORTED') return;
  const to = error.code === 'SCHEMA_CHANGED' ? 'PAUSED' : 'FAILED';
  const detail = { code: error.code, message: error.message, hint: error.hint };
  if (status === 'COMPLETED') {
    // the application is where it should be; what has stopped is the way back, until the rows are mended
    await updateStatus(run.ctx.pool, run.migration.id, { error: detail, wait_reason: error.message });
    return;
  }
  run.moved(
    await moveStatus(run.ctx.pool, run.migration, status, to, {
      status_before: status,
      error: detail,
      wait_reason: error.message,
    }),
  );
  for (const order of ['cutover-reads', 'cutover-writes'] as const)
    await fulfilOrder(run.ctx.pool, run.migration.id, order);
}

/** A lane knows that a table was altered; the catalogue knows how. */
async function sayWhatChanged(run: Run, error: ForeshadowError): Promise<ForeshadowError> {
  if (error.code !== 'SCHEMA_CHANGED' || run.migration.status === 'COMPLETED') return error;
  const changes: string[] = [];
  for (const role of ['source', 'target'] as const) {
    const changed = await sayChange(run.ctx.pool, run.migration, role);
    if (changed) changes.push(`${role}: ${changed}`);
  }
  return new ForeshadowError(
    'SCHEMA_CHANGED',
    `${error.message} (${changes.join('; ') || 'nothing visible'})`,
    error.detail,
  );
}
