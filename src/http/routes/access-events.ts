import type { FastifyInstance } from 'fastify';
import type { Access } from '../../core/access.ts';
import { ForeshadowError } from '../../core/errors.ts';
import { keyId } from '../../core/key.ts';
import { getMigration, type Migration } from '../../migration/status.store.ts';
import { reportAccesses } from '../../pipeline/reporting.ts';
import type { Backend } from '../backend.ts';
import { type Changing, changing } from '../changing.ts';
import { type Fault, HttpProblem } from '../problems.ts';
import { answer, location, problems } from '../schemas/common.ts';
import { AccessEventsRequest } from '../schemas/events.ts';

/** Clocks differ, and time zones are forgotten; beyond this an access is a mistake that would decay to nothing else. */
const mostAheadSeconds = 3600;
const mostFaults = 20;
const wantsAccesses = new Set(['PLANNED', 'SHADOWING', 'READY', 'IN_PROGRESS', 'PAUSED', 'FAILED']);

/** For applications that would rather report accesses than have their statements logged. */
export function accessEventRoutes(app: FastifyInstance, { ctx, limits }: Backend, claim: Changing): void {
  app.post<{ Body: AccessEventsRequest }>(
    '/api/v1/access-events',
    {
      ...changing(claim, undefined, false),
      bodyLimit: limits.accessEventsBody,
      schema: {
        tags: ['scores'],
        summary: 'Report which rows the application has used',
        description: 'They are durable when the answer comes. Send many at a time.',
        ...claim.headers,
        body: AccessEventsRequest,
        response: {
          202: answer('AccessEventsAnswer', 'Stored.', {
            'idempotency-replayed': location['idempotency-replayed'],
          }),
          ...problems,
        },
      },
    },
    async ({ body }, reply) => {
      const migration = await getMigration(ctx.pool, body.migration);
      if (!wantsAccesses.has(migration.status))
        throw new ForeshadowError(
          'CONFLICT',
          `migration ${migration.name} is ${migration.status} and has no use for accesses any more`,
        );
      const accesses = accessesOf(body, migration, ctx.clock.now());
      await reportAccesses(ctx, migration, accesses);
      reply.code(202);
      return { schema: 1, accepted: accesses.length };
    },
  );
}

/** @throws HttpProblem BAD_REQUEST, naming each event that is at fault */
function accessesOf({ events }: AccessEventsRequest, { plan }: Migration, now: number): Access[] {
  const columns = plan.sourceKey.map(({ name }) => name);
  const faults: Fault[] = [];
  const accesses = events.map(({ key, op, at = now, weight }, i): Access => {
    const fault = (field: string, message: string) =>
      void faults.push({ in: 'body', pointer: `/events/${i}/${field}`, message });
    if (key.length !== columns.length)
      fault('key', `must have one text for each of ${columns.join(', ')}, not ${key.length}`);
    if (at > now + mostAheadSeconds) fault('at', 'must not be more than an hour in the future, in seconds');
    return { key: keyId(key), op, at, ...(weight === undefined ? {} : { weight }) };
  });
  if (!faults.length) return accesses;
  const [first] = faults;
  throw new HttpProblem('BAD_REQUEST', `the request's body: ${first?.pointer} ${first?.message}`, {
    faults: faults.slice(0, mostFaults),
  });
}
