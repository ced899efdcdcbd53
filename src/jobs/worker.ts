import { setMaxListeners } from 'node:events';
import type { Context } from '../context.ts';
import { changed } from '../migration/orders.ts';
import { tendAll } from '../migration/tend.ts';
import { Leases } from '../pipeline/leases.ts';
import { type Bench, handle, publicReason } from './handlers.ts';
import { atOnce, type JobKind, jobKinds } from './kinds.ts';
import { Lives } from './lives.ts';
import { type Fetched, JobQueue } from './queue.ts';
import { reconcile } from './reconcile.ts';

/** Sent jobs wake all workers; what nobody told of is found this late, in ms. */
const pollEvery = 2000;
const reconcileEvery = 5000;
/** The queue's tables, or the whole database, may be gone for a while. */
const troublePause = 1000;

export interface WorkerState {
  readonly running: readonly {
    readonly kind: JobKind;
    readonly migration: string;
    readonly seconds: number;
  }[];
  readonly done: number;
  readonly failed: number;
}

/** Fetches jobs and does them, as many at once as their kinds allow, until it is stopped. */
export class JobWorker {
  readonly lives: Lives;
  readonly #ctx: Context;
  readonly #queue: JobQueue;
  readonly #leases: Leases;
  readonly #stop = new AbortController();
  readonly #running = new Map<Fetched, { readonly since: number; readonly done: Promise<void> }>();
  #loop: Promise<unknown> = Promise.resolve();
  #wake: () => void = () => {};
  /** looks at once what the states ask for */
  #call: () => void = () => {};
  #done = 0;
  #failed = 0;

  private constructor(ctx: Context, queue: JobQueue, lives: Lives) {
    this.#ctx = ctx;
    this.#queue = queue;
    this.#leases = new Leases(ctx, 'worker');
    setMaxListeners(0, this.#stop.signal); // each pause and each job listens to it
    this.lives = lives;
  }

  static async start(ctx: Context, lives = new Lives(ctx)): Promise<JobWorker> {
    const worker = new JobWorker(ctx, await JobQueue.open(ctx.pool, ctx.log, { tend: true }), lives);
    worker.#loop = Promise.all([worker.#work(), worker.#reconcile()]);
    return worker;
  }

  state(): WorkerState {
    const now = this.#ctx.clock.now();
    const running = [...this.#running].map(([{ kind, migration }, { since }]) => ({
      kind,
      migration,
      seconds: Math.round(now - since),
    }));
    return { running, done: this.#done, failed: this.#failed };
  }

  /** Ends all jobs at their next safe point; what they had in hand is sent again for others. */
  async stop(graceMs: number): Promise<void> {
    this.#stop.abort();
    this.#wake();
    this.#call();
    const all = Promise.all([...this.#running.values()].map(({ done }) => done)).then(() => this.#loop);
    const grace = new AbortController();
    await Promise.race([all, this.#ctx.clock.sleep(graceMs, grace.signal).catch(() => undefined)]);
    grace.abort();
    await this.#leases.close();
    await this.#queue.close();
  }

  async #work(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      try {
        await this.#queue.listen(this.#ctx.connect, (what) => {
          if (what === changed) this.#call();
          this.#wake();
        });
        for (const kind of jobKinds) await this.#fetch(kind);
      } catch (error) {
        this.#ctx.log.warn({ err: error }, 'jobs cannot be fetched; trying again');
        await this.#pause(troublePause);
      }
      await Promise.race([woken, this.#pause(pollEvery)]);
    }
  }

  async #fetch(kind: JobKind): Promise<void> {
    const busy = [...this.#running.keys()].filter((job) => job.kind === kind).length;
    const free = atOnce[kind] - busy;
    if (free <= 0 || this.#stop.signal.aborted) return;
    for (const job of await this.#queue.fetch(kind, free)) {
      const done = this.#do(job).finally(() => {
        this.#running.delete(job);
        this.#wake();
      });
      this.#running.set(job, { since: this.#ctx.clock.now(), done });
    }
  }

  async #do(job: Fetched): Promise<void> {
    const { kind, migration } = job;
    const bench: Bench = {
      ctx: this.#ctx,
      queue: this.#queue,
      leases: this.#leases,
      lives: this.lives,
      stop: this.#stop.signal,
    };
    try {
      const outcome = await handle(bench, job);
      this.#done += 1;
      if (outcome.outcome === 'stopped') this.#ctx.log.error({ kind, migration, ...outcome }, 'job stopped');
      await this.#queue.complete(job, outcome);
    } catch (error) {
      this.#failed += 1;
      this.#ctx.log.warn({ kind, migration, err: error }, 'job failed; it will be tried again');
      await this.#queue.fail(job, publicReason(error)).catch(() => undefined);
    }
  }

  async #reconcile(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        const sent = await reconcile(this.#ctx.pool, this.#queue);
        if (sent.length) this.#ctx.log.debug({ sent }, 'jobs sent again');
      } catch (error) {
        this.#ctx.log.warn({ err: error }, 'the queue could not be reconciled; trying again');
      }
      await tendAll(this.#ctx.pool).catch((error) =>
        this.#ctx.log.warn({ err: error }, 'key logs of resting migrations could not be kept small'),
      );
      this.lives.sweep();
      const called = new Promise<void>((resolve) => {
        this.#call = resolve;
      });
      await Promise.race([called, this.#pause(reconcileEvery)]);
    }
  }

  async #pause(ms: number): Promise<void> {
    await this.#ctx.clock.sleep(ms, this.#stop.signal).catch(() => undefined);
  }
}
