import type { Clock } from '../core/clock.ts';

/** How often a statement that may take long is looked at, in ms. */
const lookEvery = 500;

/**
 * Waits for a statement of ours that may take long, and lets `say` tell twice a second where it stands.
 * @throws what `work` or `say` throws
 */
export async function sayWhile<T>(work: Promise<T>, clock: Clock, say: () => Promise<unknown>): Promise<T> {
  const ended = new AbortController();
  const done = work.finally(() => ended.abort());
  done.catch(() => undefined); // thrown below
  for (;;) {
    await clock.sleep(lookEvery, ended.signal).catch(() => undefined);
    if (ended.signal.aborted) return done;
    await say();
  }
}
