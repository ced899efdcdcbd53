import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { getMigration } from '../../migration/status.store.ts';
import type { Backend } from '../backend.ts';
import { StatusFeed, streamEvents } from '../event-stream.ts';
import type { Metrics } from '../metrics.ts';
import { HttpProblem } from '../problems.ts';
import { MigrationParams, problems } from '../schemas/common.ts';
import { StreamHeaders, StreamQuery } from '../schemas/events.ts';

/** What happens to a migration, as it happens. */
export function eventRoutes(app: FastifyInstance, backend: Backend, metrics: Metrics): void {
  const { ctx, limits, draining } = backend;
  const feed = new StatusFeed(ctx.pool);
  let open = 0;

  app.get<{
    Params: { name: string };
    Querystring: { after?: string };
    Headers: { 'last-event-id'?: string };
  }>(
    '/api/v1/migrations/:name/events',
    {
      config: { endless: true },
      exposeHeadRoute: false,
      schema: {
        tags: ['migrations'],
        summary: 'Events as they happen (server-sent events)',
        description:
          'All recorded events, from the first or from after Last-Event-ID: `event` is the kind, `data` holds at, ' +
          'from_status, to_status and detail. Between them, without an id, `event: snapshot` with the status document ' +
          'whenever it has changed, at most once a second.',
        params: MigrationParams,
        querystring: StreamQuery,
        headers: StreamHeaders,
        response: {
          200: {
            description: 'A stream without end.',
            content: { 'text/event-stream': { schema: Type.String() } },
          },
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const { id, name } = await getMigration(ctx.pool, request.params.name);
      const full = open >= limits.streams;
      if (full || draining.aborted) {
        const why = full ? `there are ${limits.streams} streams already` : 'the server is about to stop';
        throw new HttpProblem('OVERLOADED', why, { headers: { 'retry-after': '5' } });
      }
      const after = request.headers['last-event-id'] ?? request.query.after ?? null;
      open += 1;
      metrics.streams.set(open);
      reply.hijack();
      const out = reply.raw;
      const closed = new AbortController();
      out.once('close', () => closed.abort());
      const signal = AbortSignal.any([closed.signal, draining]);
      try {
        out.writeHead(200, {
          ...(reply.getHeaders() as Record<string, string>),
          'content-type': 'text/event-stream; charset=utf-8',
          'cache-control': 'no-cache, no-transform',
          'x-accel-buffering': 'no', // or a proxy would keep it until it is complete
          connection: 'close', // it ends only when one of the two goes
        });
        await streamEvents(out, { pool: ctx.pool, clock: ctx.clock, feed, id, name, after }, signal);
      } catch (error) {
        // The client comes back by itself, after the last event that it has seen.
        if (!signal.aborted) request.log.warn({ err: error }, 'a stream of events was cut');
      } finally {
        out.end();
        open -= 1;
        metrics.streams.set(open);
      }
    },
  );
}
