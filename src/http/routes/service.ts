import type { FastifyInstance, FastifyReply } from 'fastify';
import Type from 'typebox';
import { requireSchema } from '../../db/migrate.ts';
import { longestSilence } from '../../jobs/thread.ts';
import type { Backend } from '../backend.ts';
import type { Metrics } from '../metrics.ts';
import { answer, problems } from '../schemas/common.ts';

const tags = ['service'];
/** How long the database may take to answer a probe, ms. */
const patience = 2_000;

/** Probes and metrics. */
export function serviceRoutes(app: FastifyInstance, backend: Backend, metrics: Metrics): void {
  const probe = (path: string, summary: string, missing: () => string[] | Promise<string[]>) =>
    app.get(
      path,
      {
        config: { role: 'public' },
        logLevel: 'silent',
        schema: {
          tags,
          summary,
          security: [],
          response: { 200: answer('Health', 'Yes.'), 503: answer('Health', 'No.'), ...problems },
        },
      },
      async (_request, reply: FastifyReply) => {
        const what = await missing();
        reply.code(what.length ? 503 : 200);
        return { status: what.length ? 'not ready' : 'ok', missing: what };
      },
    );
  probe('/health/live', 'Does the server answer?', () => []);
  probe('/health/startup', 'Has it started?', () =>
    backend.thread() ? [] : ['the thread of jobs and scores has not started'],
  );
  probe('/health/ready', 'Should it get requests?', () => missingNow(backend));

  app.get(
    '/metrics',
    {
      logLevel: 'warn',
      schema: {
        tags,
        summary: 'Metrics for Prometheus',
        response: {
          200: {
            description: "Prometheus' text format.",
            content: { 'text/plain': { schema: Type.String() } },
          },
          ...problems,
        },
      },
    },
    async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()),
  );
}

/** Everything that is not there, each in a sentence that names no address. */
async function missingNow(backend: Backend): Promise<string[]> {
  if (backend.draining.aborted) return ['the server is about to stop'];
  const answers = [await databaseProblem(backend), threadProblem(backend)];
  return answers.filter((answer) => answer !== null);
}

async function databaseProblem({ ctx }: Backend): Promise<string | null> {
  try {
    await within(requireSchema(ctx.pool));
    return null;
  } catch (error) {
    const { code } = error as { code?: string };
    return code === 'NOT_INITIALISED'
      ? "the database lacks our schema, or this version's part of it"
      : 'the database does not answer';
  }
}

function threadProblem({ thread }: Backend): string | null {
  const running = thread();
  if (!running) return 'the thread of jobs and scores has not started';
  const { beat_age_s: age } = running.health();
  return age <= longestSilence
    ? null
    : `the thread of jobs and scores has been silent for ${Math.round(age)} s`;
}

function within<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('too late')), patience);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
