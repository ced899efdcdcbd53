import type { HttpSettings } from '../config/http-settings.ts';
import type { Context } from '../context.ts';
import type { JobQueue } from '../jobs/queue.ts';
import type { EngineThread } from '../jobs/thread.ts';

/** Bounds on what clients may use up. */
export interface Limits {
  /** bytes of a body, unless the route says otherwise */
  readonly body: number;
  readonly scoresBody: number;
  readonly accessEventsBody: number;
  readonly headerBytes: number;
  /** how long the head of a request may take, ms */
  readonly headersTimeout: number;
  /** how long a whole request may take to arrive, ms */
  readonly requestTimeout: number;
  /** how long a connection may be silent, ms */
  readonly idleTimeout: number;
  readonly keepAliveTimeout: number;
  readonly connections: number;
  /** streams of events at once */
  readonly streams: number;
  /** mean delay of the event loop, ms, beyond which requests are turned away */
  readonly eventLoopDelay: number;
}

const mebibyte = 1024 * 1024;

export const defaultLimits: Limits = {
  body: mebibyte,
  scoresBody: 16 * mebibyte,
  accessEventsBody: 4 * mebibyte,
  headerBytes: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  idleTimeout: 120_000,
  keepAliveTimeout: 72_000,
  connections: 1_000,
  streams: 100,
  eventLoopDelay: 1_000,
};

/** What the routes stand on. */
export interface Backend {
  readonly ctx: Context;
  readonly settings: HttpSettings;
  readonly limits: Limits;
  readonly queue: Pick<JobQueue, 'send' | 'get' | 'list' | 'counts'>;
  /** null until it has started */
  readonly thread: () => Pick<EngineThread, 'scores' | 'health'> | null;
  /** aborted when the server is told to stop: streams end, and it is no longer ready */
  readonly draining: AbortSignal;
}
