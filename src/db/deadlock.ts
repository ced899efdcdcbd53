import { codeOf, sqlstate } from './sqlstate.ts';

/** Each time somebody else went on, so one is mostly enough; more in a row are something else than bad luck. */
const tries = 10;

/**
 * Runs a statement that is a transaction of its own; again, where the server ended it to break a deadlock: it has done nothing.
 * @throws whatever else it throws, and the deadlock when it comes ten times in a row
 */
export async function throughDeadlocks<T>(statement: () => Promise<T>): Promise<T> {
  for (let left = tries; ; left--) {
    try {
      return await statement();
    } catch (error) {
      if (codeOf(error) !== sqlstate.deadlockDetected || left <= 1) throw error;
    }
  }
}
