import { parentPort } from 'node:worker_threads';
import { loadTensorflow } from './backend.ts';
import { work } from './scoring.ts';
import type { FromScoringThread, ToScoringThread } from './scoring-messages.ts';

/** The other side of `scoring-pool.ts`. */
const port = parentPort;
if (!port) throw new Error('this file is run as a worker thread');

port.on('message', async ({ id, backend, task }: ToScoringThread) => {
  const tell = (failure: string | null) => port.postMessage({ id, failure } satisfies FromScoringThread);
  try {
    const tensorflow = await loadTensorflow();
    const { name, reason } = tensorflow.backend;
    // another backend rounds otherwise
    if (name !== backend) throw new Error(`the thread has the backend ${name}, not ${backend}: ${reason}`);
    work(tensorflow, task);
    tell(null);
  } catch (error) {
    tell(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
});
