import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import type { Worker } from 'node:worker_threads';
import type { BackendName } from '../config/backend.ts';
import { ForeshadowError } from '../core/errors.ts';
import { startWorkerThread } from '../core/worker-thread.ts';
import type { FeatureEngine } from '../features/engine.ts';
import type { Base, Expectation } from './expectation.ts';
import type { PlainNetwork } from './forward.ts';
import type { ScoringTask } from './scoring.ts';
import type { FromScoringThread, ToScoringThread } from './scoring-messages.ts';

/** Each thread has a TensorFlow.js of its own, about 100 MB. */
const MOST_THREADS = 4;

/** As many threads as there are processors to run them, within reason; 0 where threads would not help. */
export function scoringThreads(backend: BackendName): number {
  // tfjs-node has threads of its own
  if (backend === 'tfjs-node') return 0;
  const threads = Math.min(MOST_THREADS, availableParallelism());
  return threads > 1 ? threads : 0;
}

/**
 * Threads that score rows together, straight from the engine's shared memory. They start with the first task, stay for
 * the next, and keep the process alive only while one is under way. Close it.
 */
export class ScoringPool {
  readonly #size: number;
  readonly #backend: BackendName;
  readonly #threads: ScoringThread[] = [];
  #nextId = 1;

  /** @param backend what the threads must have too: another one would give other bits */
  constructor(size: number, backend: BackendName) {
    this.#size = size;
    this.#backend = backend;
  }

  /**
   * What to expect of every row of the engine: the same bits as without threads.
   * @param now seconds
   * @param share how much of the network's correction counts, 0–1
   * @throws ForeshadowError UNEXPECTED when a thread fails, INTERRUPTED when the pool is closed meanwhile; the next call
   *   begins with new threads
   */
  async score(
    engine: FeatureEngine,
    now: number,
    network: PlainNetwork,
    base: Base,
    share: number,
  ): Promise<Expectation> {
    const moment = engine.moment(now);
    const numbers = () =>
      new Float64Array(new SharedArrayBuffer(moment.size * Float64Array.BYTES_PER_ELEMENT));
    const expected = { accesses: numbers(), changes: numbers() };
    const next = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    while (this.#threads.length < this.#size) this.#threads.push(new ScoringThread());
    const task: ScoringTask = { moment, network, base, share, expected, next };
    const message: ToScoringThread = { id: this.#nextId++, backend: this.#backend, task };
    try {
      await Promise.all(this.#threads.map((thread) => thread.run(message)));
    } catch (error) {
      await this.close();
      throw error;
    }
    return expected;
  }

  /** Ends the threads; a call under way is rejected. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()));
  }
}

interface Running {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

class ScoringThread {
  readonly #worker: Worker;
  readonly #running = new Map<number, Running>();
  #ended: Error | null = null;

  constructor() {
    const file = new URL(`./scoring-thread${extname(import.meta.url)}`, import.meta.url);
    this.#worker = startWorkerThread(file, 'scoring');
    this.#worker.on('message', ({ id }: FromScoringThread) => this.#settle(id, ({ resolve }) => resolve()));
    this.#worker.on('messageerror', (error) => this.#end(failed(error.message, error)));
    this.#worker.on('error', (error) => this.#end(failed((error as Error).message, error)));
    this.#worker.on('exit', (code) => this.#end(failed(`it ended with code ${code}`)));
  }

  run(message: ToScoringThread): Promise<void> {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#worker.ref();
      this.#running.set(message.id, { resolve, reject });
      this.#worker.postMessage(message);
    });
  }

  async close(): Promise<void> {
    this.#end(new ForeshadowError('INTERRUPTED', 'the predictor was disposed while it scored'));
    await this.#worker.terminate();
  }

  #settle(id: number, how: (running: Running) => void): void {
    const running = this.#running.get(id);
    if (!running) return;
    this.#running.delete(id);
    if (this.#running.size === 0) this.#worker.unref();
    how(running);
  }

  /** The first reason counts. */
  #end(reason: Error): void {
    this.#ended ??= reason;
    for (const id of [...this.#running.keys()]) this.#settle(id, ({ reject }) => reject(this.#ended!));
  }
}

const failed = (why: string, cause?: unknown) =>
  new ForeshadowError('UNEXPECTED', `a scoring thread failed: ${why}`, {}, { cause });
