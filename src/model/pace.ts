import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Lets other work of this process run when we have held the event loop for long enough. */
export type Breathe = () => Promise<void> | undefined;

/** 15 ms: migration lanes live in the same process, and a step between two calls adds up to 30 ms of its own. */
export function pacer(milliseconds = 15): Breathe {
  let since = performance.now();
  return () => {
    if (performance.now() - since < milliseconds) return undefined;
    return nextTurn().then(() => {
      since = performance.now();
    });
  };
}
