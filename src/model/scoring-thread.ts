import { parentPort } from 'node:worker_threads';
import { loadTensorflow } from './backend.ts';
import { work } from './scoring.ts';
import type { FromScoringThread, ToScoringThread } from './scoring-messages.ts';

/** The other side of `scoring-pool.ts`. Whatever goes wrong ends the thread, which the pool hears of. */
const port = parentPort;
if (!port) throw new Error('this file is run as a worker thread');

port.on('message', async ({ id, backend, task }: ToScoringThread) => {
  const tensorflow = await loadTensorflow();
  const { name, reason } = tensorflow.backend;
  // another backend rounds otherwise
  if (name !== backend) throw new Error(`the thread has the backend ${name}, not ${backend}: ${reason}`);
  work(tensorflow, task);
  port.postMessage({ id } satisfies FromScoringThread);
});
