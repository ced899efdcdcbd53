import rateLimit from '@fastify/rate-limit';
import underPressure from '@fastify/under-pressure';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Backend } from './backend.ts';
import { HttpProblem } from './problems.ts';

/** While the event loop is late, work is turned away, but never a probe: it would have us killed for being busy. */
export async function installPressure(app: FastifyInstance, { limits }: Backend): Promise<void> {
  await app.register(underPressure, {
    maxEventLoopDelay: limits.eventLoopDelay,
    sampleInterval: 1000,
    pressureHandler: async (request) => {
      const url = request.routeOptions.url ?? '';
      if (url.startsWith('/health/') || url === '/metrics') return;
      throw new HttpProblem('OVERLOADED', 'too much work at once just now', {
        headers: { 'retry-after': '2' },
      });
    },
  });
}

/** Requests a minute, for each token, or each address where there is none. */
export async function installRates(app: FastifyInstance, { settings }: Backend): Promise<void> {
  if (settings.rateLimit === 0) return;
  await app.register(rateLimit, {
    max: settings.rateLimit,
    timeWindow: 60_000,
    keyGenerator: (request: FastifyRequest) =>
      request.actor && settings.tokens.length ? `token ${request.actor.name}` : `address ${request.ip}`,
    errorResponseBuilder: (_request, { max, ttl }) => {
      const wait = Math.max(1, Math.ceil(ttl / 1000));
      return new HttpProblem('RATE_LIMITED', `more than ${max} requests in a minute; wait ${wait} s`, {
        headers: { 'retry-after': String(wait) },
      });
    },
  });
}
