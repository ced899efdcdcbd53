import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { Backend } from './backend.ts';
import { claimKey, dropOldKeys, releaseKey, type StoredAnswer, storeAnswer } from './idempotency.queries.ts';
import { HttpProblem } from './problems.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** the Idempotency-Key that this request has taken and must store its answer under */
    claimedKey: string | null;
  }
}

/** Documents and checks the header; other headers are none of the route's business. */
export const idempotencyHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      pattern: '^[\\x21-\\x7e]{1,255}$',
      description:
        'Repeats the first answer, for 24 hours, when the same request comes again with the same key.',
    }),
  ),
});

const sweepEvery = 60_000;

/**
 * @returns a preHandler that takes the request's Idempotency-Key, or answers with what was stored under it. It goes
 * last, so that only requests that would be acted upon take a key.
 */
export function installIdempotency(app: FastifyInstance, { ctx }: Backend) {
  let swept = Number.NEGATIVE_INFINITY;
  app.decorateRequest('claimedKey', null);

  app.addHook('onSend', async (request, reply, payload) => {
    const { claimedKey: key, actor } = request;
    if (key === null || !actor) return payload;
    request.claimedKey = null;
    try {
      if (reply.statusCode >= 500 || typeof payload !== 'string') await releaseKey(ctx.pool, actor.name, key);
      else await storeAnswer(ctx.pool, actor.name, key, answerOf(reply, payload));
    } catch (error) {
      // The action is done; a retry meets "still at work" for a minute and then does the same again.
      request.log.error({ err: error }, 'the answer could not be stored under its idempotency key');
    }
    return payload;
  });

  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    const key = request.headers['idempotency-key'] as string | undefined;
    const actor = request.actor;
    if (key === undefined || !actor) return undefined;
    if (performance.now() - swept > sweepEvery) {
      swept = performance.now();
      await dropOldKeys(ctx.pool);
    }
    const claim = await claimKey(ctx.pool, actor.name, key, fingerprintOf(request));
    if (claim.state === 'ours') {
      request.claimedKey = key;
      return undefined;
    }
    if (claim.state === 'at work') {
      throw new HttpProblem('AT_WORK', 'a request with this Idempotency-Key is still at work', {
        headers: { 'retry-after': '1' },
      });
    }
    if (claim.state !== 'done')
      throw new HttpProblem('KEY_REUSED', 'another request has used this Idempotency-Key');
    const { status, headers, body } = claim.answer;
    return reply.code(status).headers(headers).header('idempotency-replayed', 'true').send(body);
  };
}

function answerOf(reply: FastifyReply, body: string): StoredAnswer {
  const headers: Record<string, string> = {};
  for (const name of ['content-type', 'location']) {
    const value = reply.getHeader(name);
    if (typeof value === 'string') headers[name] = value;
  }
  return { status: reply.statusCode, headers, body };
}

function fingerprintOf(request: FastifyRequest): string {
  return createHash('sha256')
    .update(`${request.method} ${request.url}\n`)
    .update(request.rawBody ?? '')
    .digest('hex');
}
