import { extname } from 'node:path';
import type { Worker } from 'node:worker_threads';
import type { Config } from '../config/config.ts';
import { catalogue, type ErrorCode, ForeshadowError } from '../core/errors.ts';
import { startWorkerThread } from '../core/worker-thread.ts';
import type { ScoresReply } from './scores.ts';
import type { Failure, FromThread, ThreadData, ToThread } from './thread-messages.ts';
import type { WorkerState } from './worker.ts';

/** A thread that has not said anything for this long hangs. */
export const longestSilence = 15;

export interface ThreadHealth {
  /** seconds since the thread was last heard of */
  readonly beat_age_s: number;
  readonly jobs: WorkerState;
}

/** An {@link Engine} in a thread of its own, so that neither training nor scoring holds up whoever talks HTTP. */
export interface EngineThread {
  /** @throws ForeshadowError as the engine does */
  scores(body: Uint8Array): Promise<ScoresReply>;
  health(): ThreadHealth;
  /** resolves when the thread has ended without being told to */
  readonly failed: Promise<Error>;
  /** tells it to stop, and ends it for good shortly after the grace */
  stop(graceMs: number): Promise<void>;
}

interface Waiting {
  readonly resolve: (reply: ScoresReply) => void;
  readonly reject: (error: Error) => void;
}

/** @throws ForeshadowError DATABASE_UNREACHABLE and whatever else keeps the engine from starting */
export async function startThread(options: { config: Config; jobs: boolean }): Promise<EngineThread> {
  const thread = new Thread(startWorker({ config: options.config, jobs: options.jobs }));
  await thread.ready;
  return thread;
}

class Thread implements EngineThread {
  readonly ready: Promise<void>;
  readonly failed: Promise<Error>;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #heardAt = performance.now();
  #state: WorkerState = { running: [], done: 0, failed: 0 };
  #ended = false;
  #stopping = false;

  constructor(worker: Worker) {
    this.#worker = worker;
    let started: () => void;
    let notStarted: (error: Error) => void;
    let fail: (error: Error) => void;
    this.ready = new Promise((resolve, reject) => {
      started = resolve;
      notStarted = reject;
    });
    this.failed = new Promise((resolve) => {
      fail = resolve;
    });
    const end = (error: Error) => {
      this.#ended = true;
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
      notStarted(error);
      if (!this.#stopping) fail(error);
    };
    worker.on('message', (message: FromThread) => {
      this.#heardAt = performance.now();
      if (message.type === 'ready') started();
      else if (message.type === 'beat') this.#state = message.state;
      else if (message.type === 'failed') end(errorOf(message.failure));
      else this.#answer(message);
    });
    worker.on('error', (error) => end(error as Error));
    worker.on('exit', (code) => end(new Error(`the engine's thread ended with code ${code}`)));
  }

  scores(body: Uint8Array): Promise<ScoresReply> {
    if (this.#ended || this.#stopping)
      return Promise.reject(new ForeshadowError('INTERRUPTED', 'the service is stopping'));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#post({ type: 'scores', id, body });
    });
  }

  health(): ThreadHealth {
    return { beat_age_s: (performance.now() - this.#heardAt) / 1000, jobs: this.#state };
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    if (this.#ended) return;
    const ended = new Promise<void>((resolve) => void this.#worker.once('exit', () => resolve()));
    this.#post({ type: 'stop', graceMs });
    const late = setTimeout(() => void this.#worker.terminate(), graceMs + 1000);
    await ended;
    clearTimeout(late);
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #answer(message: Extract<FromThread, { id: number }>): void {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === 'scores') waiting?.resolve({ body: message.body, keys: message.keys });
    else waiting?.reject(errorOf(message.failure));
  }
}

function errorOf({ code, message, detail }: Failure): Error {
  if (code !== null && code in catalogue) return new ForeshadowError(code as ErrorCode, message, detail);
  return new Error(message);
}

/** The thread's own file beside this one. */
function startWorker(workerData: ThreadData): Worker {
  const file = new URL(`./thread-main${extname(import.meta.url)}`, import.meta.url);
  return startWorkerThread(file, 'engine', workerData);
}
