import type { FastifyInstance } from 'fastify';
import { ScoresRequest } from '../../jobs/scores-schema.ts';
import type { Backend } from '../backend.ts';
import { installBytesBody } from '../json-body.ts';
import type { Metrics } from '../metrics.ts';
import { HttpProblem } from '../problems.ts';
import { answer, problems } from '../schemas/common.ts';

/** Bytes of requests that may be with the engine at once; answers are several times as large. */
const mostWaiting = 64 * 1024 * 1024;

/** Bytes in, bytes out: the engine's thread parses, checks, scores and writes, so that this one never waits. */
export async function scoreRoutes(app: FastifyInstance, backend: Backend, metrics: Metrics): Promise<void> {
  let waiting = 0;
  await app.register(async (scope) => {
    installBytesBody(scope);
    scope.post<{ Body: Buffer | undefined }>(
      '/api/v1/scores',
      {
        bodyLimit: backend.limits.scoresBody,
        config: { role: 'read' },
        validatorCompiler: () => (value) => ({ value }),
        schema: {
          tags: ['scores'],
          summary: 'How soon rows will be needed',
          description: 'Scores follow what the application does to within a second.',
          body: ScoresRequest,
          response: { 200: answer('ScoresAnswer', 'One score for each key, in their order.'), ...problems },
        },
      },
      async ({ body }, reply) => {
        if (!body?.length) throw new HttpProblem('MALFORMED_JSON', 'the body is empty');
        const thread = backend.thread();
        if (!thread) throw new HttpProblem('NOT_READY', 'the scores are not ready yet');
        if (waiting + body.length > mostWaiting)
          throw new HttpProblem('OVERLOADED', 'too many scores are being asked for at once', {
            headers: { 'retry-after': '1' },
          });
        waiting += body.length;
        const scored = await thread.scores(body).finally(() => {
          waiting -= body.length;
        });
        metrics.scoredKeys.inc(scored.keys);
        return reply.type('application/json; charset=utf-8').send(scored.body);
      },
    );
  });
}
