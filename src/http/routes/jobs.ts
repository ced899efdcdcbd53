import type { FastifyInstance, FastifyReply } from 'fastify';
import type { Static } from 'typebox';
import { ForeshadowError } from '../../core/errors.ts';
import { type JobKind, mayRun } from '../../jobs/kinds.ts';
import { getMigration } from '../../migration/status.store.ts';
import type { Backend } from '../backend.ts';
import { type Changing, changing } from '../changing.ts';
import { HttpProblem } from '../problems.ts';
import { answer, location, problems } from '../schemas/common.ts';
import { JobListQuery, JobParams, JobRequest } from '../schemas/jobs.ts';

const tags = ['jobs'];

/** The work behind the migrations. */
export function jobRoutes(app: FastifyInstance, backend: Backend, claim: Changing): void {
  const { queue } = backend;

  app.get<{ Querystring: Static<typeof JobListQuery> }>(
    '/api/v1/jobs',
    {
      schema: {
        tags,
        summary: 'Jobs, newest first',
        querystring: JobListQuery,
        response: { 200: answer('JobList', 'A page.'), ...problems },
      },
    },
    async ({ query: { cursor, limit, ...filter } }) => {
      const found = await queue.list({ ...filter, limit: limit + 1, ...(cursor ? { before: cursor } : {}) });
      const page = found.slice(0, limit);
      return { schema: 1, jobs: page, next_cursor: found.length > page.length ? page.at(-1)?.id : null };
    },
  );

  app.get<{ Params: { id: string } }>(
    '/api/v1/jobs/:id',
    {
      schema: {
        tags,
        summary: 'One job',
        params: JobParams,
        response: { 200: answer('Job', 'The job.'), ...problems },
      },
    },
    async ({ params }) => {
      const job = await queue.get(params.id);
      if (!job) throw new HttpProblem('JOB_UNKNOWN', `there is no job ${params.id}`);
      return job;
    },
  );

  app.post<{ Body: Static<typeof JobRequest> }>(
    '/api/v1/jobs',
    {
      ...changing(claim),
      schema: {
        tags,
        summary: 'Have something done now that is otherwise done by schedule',
        description: 'Refused when the state of the migration leaves nothing for such a job to do.',
        ...claim.headers,
        body: JobRequest,
        response: { 202: answer('Job', 'Queued, now or already.', location), ...problems },
      },
    },
    ({ body }, reply) => sendJob(backend, reply, body.kind, body.migration),
  );
}

/**
 * Queues a job, or finds the one that is queued already, and answers with it.
 * @throws ForeshadowError MIGRATION_UNKNOWN; CONFLICT when there is nothing to do
 */
export async function sendJob(
  { ctx, queue }: Backend,
  reply: FastifyReply,
  kind: JobKind,
  migration: string,
): Promise<unknown> {
  const now = await getMigration(ctx.pool, migration);
  if (!mayRun(now, kind)) {
    const where = now.phase === 'none' ? now.status : `${now.status}, phase ${now.phase}`;
    throw new ForeshadowError('CONFLICT', `migration ${migration} is ${where}; there is nothing to ${kind}`);
  }
  // One that is queued may begin, or end, between the two looks.
  for (let attempt = 0; attempt < 3; attempt++) {
    const id = await queue.send(kind, migration, { force: true });
    const [queued] = id === null ? await queue.list({ kind, migration, limit: 1 }) : [await queue.get(id)];
    if (!queued) continue;
    reply.code(202).header('location', `/api/v1/jobs/${queued.id}`);
    return queued;
  }
  throw new HttpProblem('NOT_READY', 'the job could not be queued just now');
}
