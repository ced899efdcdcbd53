import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import type { KnobChange } from '../../config/throttle-settings.ts';
import { giveOrder, pauseMigration, resumeMigration } from '../../migration/orders.ts';
import { resizeShadow } from '../../migration/shadow-size.store.ts';
import type { Migration } from '../../migration/status.store.ts';
import { turnKnobs } from '../../migration/throttle/knobs.store.ts';
import type { Backend } from '../backend.ts';
import { type Changing, changing } from '../changing.ts';
import { HttpProblem } from '../problems.ts';
import { answer, location, MigrationParams, problems } from '../schemas/common.ts';
import {
  CutoverRequest,
  FinalizeRequest,
  RollbackRequest,
  ShadowRequest,
  ThrottleRequest,
} from '../schemas/migration.ts';
import { requireNoBody } from '../validator.ts';
import { sendJob } from './jobs.ts';
import { describe, pathOf } from './migrations.ts';

type Named = { Params: { name: string } };

/** What an operator does to a migration. Each is written down durably before the answer, and done by the job runner. */
export function actionRoutes(app: FastifyInstance, backend: Backend, claim: Changing): void {
  const { ctx } = backend;
  const by = (request: FastifyRequest) => request.actor?.name ?? 'nobody';
  const schema = (summary: string) => ({
    tags: ['migrations'],
    summary,
    params: MigrationParams,
    ...claim.headers,
    response: { 202: answer('Migration', 'Written down; it is done soon.', location), ...problems },
  });
  const accepted = async (reply: FastifyReply, migration: Migration) => {
    reply.code(202).header('location', pathOf(migration.name));
    return describe(backend, migration);
  };

  app.post<Named & { Body: Static<typeof CutoverRequest> }>(
    '/api/v1/migrations/:name/cutover',
    {
      ...changing(claim, ({ body }) => requireWrites(body as Static<typeof CutoverRequest>)),
      schema: { ...schema('Cut reads or writes over to the target'), body: CutoverRequest },
    },
    async (request, reply) => {
      const { params, body } = request;
      const order = `cutover-${body.what}` as const;
      const detail = terminating(body, by(request));
      return accepted(reply, await giveOrder(ctx.pool, params.name, order, by(request), detail));
    },
  );

  app.post<Named & { Body: Static<typeof RollbackRequest> }>(
    '/api/v1/migrations/:name/rollback',
    {
      ...changing(claim),
      // the path says everything: no body is as good as an empty one
      preValidation: async (request) => {
        request.body ??= {};
      },
      schema: {
        ...schema('Take the write cutover back: the old table takes its place again, with every change'),
        body: RollbackRequest,
      },
    },
    async (request, reply) => {
      const detail = terminating(request.body, by(request));
      return accepted(reply, await giveOrder(ctx.pool, request.params.name, 'rollback', by(request), detail));
    },
  );

  app.post<Named & { Body: Static<typeof FinalizeRequest> }>(
    '/api/v1/migrations/:name/finalize',
    {
      ...changing(claim),
      schema: {
        ...schema('End the time in which the write cutover can be rolled back'),
        body: FinalizeRequest,
      },
    },
    async (request, reply) => {
      const detail = { drop_old: request.body.drop_old === true };
      return accepted(reply, await giveOrder(ctx.pool, request.params.name, 'finalize', by(request), detail));
    },
  );

  app.post<Named & { Body: KnobChange }>(
    '/api/v1/migrations/:name/throttle',
    {
      ...changing(claim),
      schema: {
        ...schema('Turn limits of the throttle; they act within a second, null gives one back to the file'),
        body: ThrottleRequest,
      },
    },
    async (request, reply) =>
      accepted(reply, await turnKnobs(ctx.pool, request.params.name, request.body, by(request))),
  );

  app.post<Named & { Body: Static<typeof ShadowRequest> }>(
    '/api/v1/migrations/:name/shadow',
    {
      ...changing(claim),
      schema: {
        ...schema('Change the size of the shadow while it is kept; confidence is measured anew'),
        body: ShadowRequest,
      },
    },
    async (request, reply) => {
      const { params, body } = request;
      return accepted(reply, await resizeShadow(ctx.pool, params.name, body.fraction, by(request)));
    },
  );

  const simple: Record<string, { summary: string; act: (name: string, by: string) => Promise<Migration> }> = {
    pause: {
      summary: 'Stop all work at the next safe point',
      act: (name, who) => pauseMigration(ctx.pool, name, who),
    },
    resume: {
      summary: 'Go on after a pause or a failure',
      act: (name) => resumeMigration(ctx.pool, name),
    },
    abort: {
      summary: 'Give up and put everything back as it was',
      act: (name, who) => giveOrder(ctx.pool, name, 'abort', who),
    },
  };
  for (const [action, { summary, act }] of Object.entries(simple)) {
    app.post<Named>(
      `/api/v1/migrations/:name/${action}`,
      { ...changing(claim), schema: schema(summary), preValidation: requireNoBody },
      async (request, reply) => accepted(reply, await act(request.params.name, by(request))),
    );
  }

  app.post<Named>(
    '/api/v1/migrations/:name/verify',
    {
      ...changing(claim),
      preValidation: requireNoBody,
      schema: {
        ...schema('Compare every row of the target with the source'),
        response: { 202: answer('Job', 'Queued.', location), ...problems },
      },
    },
    (request, reply) => sendJob(backend, reply, 'verify', request.params.name),
  );
}

/** What an order says of sessions in its way; nothing, when the request does not: an earlier word still counts. */
function terminating({ terminate_blockers: told }: Static<typeof RollbackRequest>, by: string) {
  return told === undefined ? {} : { terminate_blockers: told ? by : null };
}

function requireWrites({ what, terminate_blockers: told }: Static<typeof CutoverRequest>): void {
  if (what === 'writes' || told === undefined) return;
  const message = 'nobody is in the way of reads: it goes with "writes"';
  throw new HttpProblem('BAD_REQUEST', `the request's body: /terminate_blockers ${message}`, {
    faults: [{ in: 'body', pointer: '/terminate_blockers', message }],
  });
}
