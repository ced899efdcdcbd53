import type { FastifyInstance, FastifyRequest } from 'fastify';
import { recordAudit } from './audit.queries.ts';
import type { Backend } from './backend.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** one row in foreshadow.audit for each request of a known actor, whatever its outcome */
    audited?: boolean;
  }
}

/** Writes the row before the answer goes out. Requests beyond the limit of rates were not looked at, and leave none. */
export function installAudit(app: FastifyInstance, { ctx }: Backend): void {
  app.addHook('onSend', async (request, reply, payload) => {
    const { actor, routeOptions } = request;
    if (!actor || !routeOptions.config?.audited || reply.statusCode === 429) return payload;
    const entry = {
      actor: actor.name,
      role: actor.role,
      action: `${request.method} ${routeOptions.url}`,
      migration: migrationOf(request),
      status: reply.statusCode,
      requestId: request.id,
      remote: request.ip,
    };
    try {
      await recordAudit(ctx.pool, entry);
    } catch (error) {
      request.log.error({ err: error, audit: entry }, 'the audit row could not be written');
    }
    return payload;
  });
}

/** Only what looks like a name of a migration: the rest is the client's text. */
function migrationOf({ params, body }: FastifyRequest): string | null {
  const fields = { ...(body as object | null), ...(params as object | null) } as Record<string, unknown>;
  const name = fields.migration ?? fields.name;
  return typeof name === 'string' && /^[a-z0-9][a-z0-9_-]{0,39}$/.test(name) ? name : null;
}
