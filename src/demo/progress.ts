import type { PipelineEvent } from '../pipeline.ts';

const said: Partial<Record<string, string>> = {
  SHADOWING: 'shadowing: every change is captured, the shadow fills with rows about to be needed',
  READY: 'ready: confidence holds',
  IN_PROGRESS: 'reads are on the target now; the rest of the rows follow',
  COMPLETED: 'completed: reads and writes are on the target',
};

/** A reason to wait comes anew with every evaluation; more often than this nobody reads it. */
const waitSeconds = 5;

/** Turns events into lines, leaving out what was just said. */
export function createProgress(): (event: PipelineEvent) => string | null {
  let waitedAt = Number.NEGATIVE_INFINITY;
  return (event) => {
    if (event.type === 'wait') {
      if (event.at - waitedAt < waitSeconds) return null;
      waitedAt = event.at;
    }
    return progressLine(event);
  };
}

/** What an event of the pipeline is in one line; null when it is not worth one. */
function progressLine(event: PipelineEvent): string | null {
  switch (event.type) {
    case 'status':
      return said[event.status] ?? event.status;
    case 'step':
      return event.step;
    case 'warning':
      return event.message;
    case 'wait':
      return `waiting: ${event.reason}`;
    case 'progress':
      return `${Math.round(event.rows).toLocaleString('en-US')} of ${event.total.toLocaleString('en-US')} rows are on the target`;
    case 'reads-cut-over':
      return null;
  }
}
