import { parentPort, workerData } from 'node:worker_threads';
import { ForeshadowError } from '../core/errors.ts';
import { Engine } from './engine.ts';
import type { Failure, FromThread, ThreadData, ToThread } from './thread-messages.ts';

/** The other side of `thread.ts`: an engine in a thread of its own. */
const port = parentPort;
if (!port) throw new Error('this file is run as a worker thread');
const tell = (message: FromThread, transfer: readonly ArrayBuffer[] = []) =>
  port.postMessage(message, transfer);

const failureOf = (error: unknown): Failure => {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  if (error instanceof ForeshadowError) return { code: error.code, message, detail: { ...error.detail } };
  return { code: null, message: stack ?? message, detail: {} };
};

const { config, jobs } = workerData as ThreadData;
try {
  const engine = await Engine.start(config, { jobs });
  const beats = setInterval(() => tell({ type: 'beat', state: engine.state() }), 1000);
  port.on('message', (message: ToThread) => {
    if (message.type === 'stop') {
      clearInterval(beats);
      engine.stop(message.graceMs).finally(() => port.close());
      return;
    }
    const { id } = message;
    engine.scores(message.body).then(
      ({ body, keys }) => tell({ type: 'scores', id, body, keys }, [body.buffer as ArrayBuffer]),
      (error) => tell({ type: 'refused', id, failure: failureOf(error) }),
    );
  });
  tell({ type: 'ready' });
} catch (error) {
  tell({ type: 'failed', failure: failureOf(error) });
  port.close();
}
