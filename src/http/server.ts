import helmet from '@fastify/helmet';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { installAudit } from './audit.ts';
import { installAuthentication, installRoles } from './auth.ts';
import type { Backend } from './backend.ts';
import { changingRoutes } from './changing.ts';
import { answerClientError, installErrors, sendProblem } from './errors.ts';
import { installIdempotency } from './idempotency.ts';
import { installJsonBody } from './json-body.ts';
import { installPressure, installRates } from './limits.ts';
import { installMetrics, routeOf } from './metrics.ts';
import { installOpenapi, openapiRoute } from './openapi.ts';
import { saneRequestId } from './request-id.ts';
import { accessEventRoutes } from './routes/access-events.ts';
import { actionRoutes } from './routes/actions.ts';
import { eventRoutes } from './routes/events.ts';
import { jobRoutes } from './routes/jobs.ts';
import { migrationRoutes } from './routes/migrations.ts';
import { modelRoutes } from './routes/models.ts';
import { scoreRoutes } from './routes/scores.ts';
import { serviceRoutes } from './routes/service.ts';
import { statementRoutes } from './routes/statements.ts';
import { endSilentConnections } from './silent-connections.ts';
import { validatorCompiler } from './validator.ts';

/**
 * The server, ready to listen. What comes first is asked first: who is too much, who it is, how often, whether it may,
 * and only then what is in the body.
 */
export async function buildServer(backend: Backend): Promise<FastifyInstance> {
  const { ctx, limits } = backend;
  const app: FastifyInstance = Fastify({
    loggerInstance: ctx.log.child(
      {},
      { redact: { paths: ['authorization', '*.authorization', 'headers', '*.headers'], censor: '(hidden)' } },
    ) as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    requestIdHeader: false,
    genReqId: (request) => saneRequestId(request.headers['x-request-id']),
    bodyLimit: limits.body,
    requestTimeout: limits.requestTimeout,
    connectionTimeout: limits.idleTimeout,
    keepAliveTimeout: limits.keepAliveTimeout,
    return503OnClosing: false, // what came in is answered; the connection is closed after it
    forceCloseConnections: 'idle',
    http: {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersTimeout,
      connectionsCheckingInterval: Math.min(1_000, limits.headersTimeout),
    },
    clientErrorHandler: answerClientError,
    frameworkErrors: sendProblem,
    routerOptions: { maxParamLength: 100 },
  });
  app.server.maxConnections = limits.connections;
  endSilentConnections(app);
  app.setValidatorCompiler(validatorCompiler);
  // Answers are written as they are: a schema that dropped a field would hide a mistake. Tests hold them to the document.
  app.setSerializerCompiler(() => JSON.stringify);

  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id).header('cache-control', 'no-store');
  });
  app.addHook('onResponse', async (request, reply) => {
    const { method } = request;
    const ms = Math.round(reply.elapsedTime * 10) / 10;
    request.log.info({ method, route: routeOf(request), status: reply.statusCode, ms }, 'answered');
  });
  const metrics = installMetrics(app, backend);
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    strictTransportSecurity: false, // who puts TLS in front of this decides on that
  });
  installJsonBody(app);
  await installPressure(app, backend);
  installAuthentication(app, backend.settings);
  await installRates(app, backend);
  installRoles(app);
  installErrors(app);
  installAudit(app, backend);
  const claim = changingRoutes(installIdempotency(app, backend));
  await installOpenapi(app, backend);

  serviceRoutes(app, backend, metrics);
  openapiRoute(app);
  migrationRoutes(app, backend, claim);
  actionRoutes(app, backend, claim);
  statementRoutes(app, backend);
  eventRoutes(app, backend, metrics);
  await scoreRoutes(app, backend, metrics);
  accessEventRoutes(app, backend, claim);
  modelRoutes(app, backend);
  jobRoutes(app, backend, claim);
  await app.ready();
  return app;
}
