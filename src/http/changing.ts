import type { FastifyReply, FastifyRequest } from 'fastify';
import { idempotencyHeaders, type installIdempotency } from './idempotency.ts';

/** What every route that changes something has in common. */
export interface Changing {
  readonly claimKey: ReturnType<typeof installIdempotency>;
  readonly headers: { readonly headers: typeof idempotencyHeaders };
}

export const changingRoutes = (claimKey: Changing['claimKey']): Changing => ({
  claimKey,
  headers: { headers: idempotencyHeaders },
});

/** Options of a route whose requests are written down and may carry an Idempotency-Key. `check` refuses by throwing. */
export function changing(
  { claimKey }: Changing,
  check: (request: FastifyRequest) => void = () => {},
  audited = true,
) {
  return {
    config: { audited },
    preHandler: [
      async (request: FastifyRequest) => check(request),
      (request: FastifyRequest, reply: FastifyReply) => claimKey(request, reply),
    ],
  };
}
