import type { Config } from '../config/config.ts';
import type { WorkerState } from './worker.ts';

export interface ThreadData {
  readonly config: Config;
  readonly jobs: boolean;
}

export type ToThread =
  | { readonly type: 'scores'; readonly id: number; readonly body: Uint8Array }
  | { readonly type: 'stop'; readonly graceMs: number };

/** An error of the catalogue as it passes between threads. */
export interface Failure {
  readonly code: string | null;
  readonly message: string;
  readonly detail: Record<string, unknown>;
}

export type FromThread =
  | { readonly type: 'ready' }
  | { readonly type: 'beat'; readonly state: WorkerState }
  | { readonly type: 'scores'; readonly id: number; readonly body: Uint8Array; readonly keys: number }
  | { readonly type: 'refused'; readonly id: number; readonly failure: Failure }
  /** it could not start, or cannot go on */
  | { readonly type: 'failed'; readonly failure: Failure };
