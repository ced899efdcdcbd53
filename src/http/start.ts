import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Config } from '../config/config.ts';
import type { HttpSettings } from '../config/http-settings.ts';
import { type Context, createContext } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import { initSchema } from '../db/migrate.ts';
import { JobQueue } from '../jobs/queue.ts';
import { type EngineThread, startThread } from '../jobs/thread.ts';
import { defaultLimits } from './backend.ts';
import { buildServer } from './server.ts';

/** A server that listens, with the thread that works for it. */
export interface Service {
  /** 'http://127.0.0.1:7474' */
  readonly url: string;
  /** resolves with the reason when the service cannot go on: then stop it and start a new process */
  readonly failed: Promise<Error>;
  /** not ready → drain → stop the thread → close the pools. Can be called again */
  stop(): Promise<void>;
}

/** Together less than the ten seconds after which supervisors kill. */
const drainMs = 4_000;
const threadMs = 4_000;

/**
 * Starts the whole service: our schema, the server, the thread of jobs and scores.
 * @throws ForeshadowError BAD_CONFIG, DATABASE_UNREACHABLE; nothing is left running then
 */
export async function startService(config: Config, settings: HttpSettings): Promise<Service> {
  const ctx = await createContext(config);
  const draining = new AbortController();
  let queue: JobQueue | undefined;
  let thread: EngineThread | undefined;
  let app: FastifyInstance | undefined;
  let stopped: Promise<void> | undefined;
  const stop = () => (stopped ??= shutDown(ctx, draining, () => ({ app, thread, queue })));
  try {
    await initSchema(ctx.pool);
    queue = await JobQueue.open(ctx.pool, ctx.log);
    app = await buildServer({
      ctx,
      settings,
      limits: defaultLimits,
      queue,
      thread: () => thread ?? null,
      draining: draining.signal,
    });
    await listen(app, settings);
    thread = await startThread({ config, jobs: true });
    const { port, address } = app.server.address() as AddressInfo;
    const host = address.includes(':') ? `[${address}]` : address;
    return { url: `http://${host}:${port}`, failed: thread.failed, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function listen(app: FastifyInstance, { host, port }: HttpSettings): Promise<void> {
  try {
    await app.listen({ host, port });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (!['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL', 'ENOTFOUND'].includes(code ?? '')) throw cause;
    throw new ForeshadowError(
      'BAD_CONFIG',
      `cannot listen on ${host}, port ${port} (FORESHADOW_HOST, FORESHADOW_PORT): ${message}`,
      {},
      { cause },
    );
  }
}

async function shutDown(
  ctx: Context,
  draining: AbortController,
  parts: () => {
    app?: FastifyInstance | undefined;
    thread?: EngineThread | undefined;
    queue?: JobQueue | undefined;
  },
): Promise<void> {
  const { app, thread, queue } = parts();
  draining.abort(new ForeshadowError('INTERRUPTED', 'the service stops'));
  if (app) {
    const closed = app.close();
    const timer = setTimeout(() => app.server.closeAllConnections(), drainMs);
    await closed.catch((error) => ctx.log.warn({ err: error }, 'the server did not close cleanly'));
    clearTimeout(timer);
  }
  await thread
    ?.stop(threadMs)
    .catch((error) => ctx.log.warn({ err: error }, 'the thread did not stop cleanly'));
  await queue?.close().catch((error) => ctx.log.warn({ err: error }, 'the queue did not close cleanly'));
  await ctx.close();
}
