import type { BackendName } from '../config/backend.ts';
import type { ScoringTask } from './scoring.ts';

/** To a scoring thread: answered by one {@link FromScoringThread}. */
export interface ToScoringThread {
  readonly id: number;
  readonly backend: BackendName;
  readonly task: ScoringTask;
}

export interface FromScoringThread {
  readonly id: number;
  /** what went wrong; null when there was nothing left to score */
  readonly failure: string | null;
}
