import type { ClientBase } from 'pg';

/** Errors of the user's expressions: bad data, bad syntax, raised by their functions, too complex. Not timeouts. */
const ofExpressions = /^(22|23|42|P0|54|0A)/;

/** What an attempt gave, or the SQLSTATE that the user's expression raised. Never its message: that may quote values. */
export type Attempt<T> = { readonly value: T; readonly sqlstate?: never } | { readonly sqlstate: string };

/**
 * Runs statements that hold expressions of the user's inside a savepoint, so that one bad expression costs itself
 * only and not the evaluation.
 */
export async function attempt<T>(client: ClientBase, work: () => Promise<T>): Promise<Attempt<T>> {
  await client.query('savepoint attempt');
  try {
    const value = await work();
    await client.query('release savepoint attempt');
    return { value };
  } catch (error) {
    const sqlstate = (error as { code?: unknown }).code;
    if (typeof sqlstate !== 'string' || !ofExpressions.test(sqlstate)) throw error;
    await client.query('rollback to savepoint attempt');
    await client.query('release savepoint attempt');
    return { sqlstate };
  }
}
