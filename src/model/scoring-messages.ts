import type { BackendName } from '../config/backend.ts';
import type { ScoringTask } from './scoring.ts';

/** To a scoring thread, which answers by one {@link FromScoringThread}, or ends with an error. */
export interface ToScoringThread {
  readonly id: number;
  readonly backend: BackendName;
  readonly task: ScoringTask;
}

/** Nothing is left to score of that task. */
export interface FromScoringThread {
  readonly id: number;
}
