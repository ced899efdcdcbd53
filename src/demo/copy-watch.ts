import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import type { TablePlan } from '../core/plan.ts';
import type { CopySample } from './copy-order.ts';
import { rangePositions } from './copy-watch.queries.ts';

/** ms between two looks at the ranges */
const every = 150;

/** Looks at the copy from its beginning to its end, and remembers how far each range was. */
export class CopyWatch {
  /** in order of time; the last one has every range done, if the copy came to its end */
  readonly samples: CopySample[] = [];
  readonly #stop = new AbortController();
  #watching: Promise<void> | null = null;

  /** @param plan is asked for when there is something to look at */
  start(pool: Pool, plan: () => Promise<TablePlan>): void {
    this.#watching ??= this.#watch(pool, plan).catch(() => {}); // what is missing shows in the samples
  }

  /** Returns when nothing of it is at work any more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }

  async #watch(pool: Pool, planOf: () => Promise<TablePlan>): Promise<void> {
    const { signal } = this.#stop;
    const plan = await planOf();
    while (!signal.aborted) {
      const sample = await rangePositions(pool, plan);
      this.samples.push(sample);
      if (sample.ranges.every((range) => range.done)) return;
      await sleep(every, undefined, { signal });
    }
  }
}
