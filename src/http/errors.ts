import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { HttpProblem, type HttpProblemCode, problemOf, problemType, publicError } from './problems.ts';
import { saneRequestId } from './request-id.ts';

/** Answers with a problem document; says in the log what the client is not told. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const path = request.url.split('?', 1)[0] ?? '';
  const { document, headers } = problemOf(error, path, request.id);
  if (document.status >= 500 && publicError(error) === null)
    request.log.error({ err: error }, 'a request failed unexpectedly');
  void reply.code(document.status).headers(headers).type(problemType).send(JSON.stringify(document));
}

/** Every error as a problem document, those of Fastify, of the router and of the parser of HTTP included. */
export function installErrors(app: FastifyInstance): void {
  const routes = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    const methods = routes.get(url) ?? new Set();
    for (const each of [method].flat()) methods.add(each);
    routes.set(url, methods);
  });
  app.setErrorHandler(sendProblem);
  app.addHook('onReady', async () => {
    compiled = [...routes].map(([url, methods]) => ({ matches: matcher(url), methods }));
  });
  let compiled: { matches: RegExp; methods: Set<string> }[] = [];
  const limit = app.hasDecorator('rateLimit') ? app.rateLimit() : undefined;
  app.setNotFoundHandler(limit ? { preHandler: limit } : {}, (request) => {
    const path = request.url.split('?', 1)[0] ?? '';
    const allowed = compiled
      .filter(({ matches }) => matches.test(path))
      .flatMap(({ methods }) => [...methods]);
    if (!allowed.length) throw new HttpProblem('ROUTE_UNKNOWN', `there is nothing at ${path}`);
    const allow = [...new Set(allowed)].sort().join(', ');
    throw new HttpProblem(
      'METHOD_NOT_ALLOWED',
      `${request.method} is not for ${path}, which takes ${allow}`,
      {
        headers: { allow },
      },
    );
  });
}

/** Routes of ours hold literals, :parameters and a * at the end. */
function matcher(url: string): RegExp {
  const escaped = url.replace(/[.+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replace(/:[^/]+/g, '[^/]+').replace(/\*$/, '.*')}$`);
}

const parserCodes: Readonly<Record<string, HttpProblemCode>> = {
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE',
  ERR_HTTP_REQUEST_TIMEOUT: 'TIMEOUT',
};

/** What does not even become a request: too slow, too long, or not HTTP. The connection ends with the answer. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const code = parserCodes[error.code ?? ''] ?? 'BAD_REQUEST';
  const messages: Partial<Record<HttpProblemCode, string>> = {
    HEADERS_TOO_LARGE: 'the headers are too large',
    TIMEOUT: 'the request did not arrive in time',
  };
  const problem = new HttpProblem(code, messages[code] ?? 'this is not HTTP');
  const { document } = problemOf(problem, '', saneRequestId(undefined));
  const body = JSON.stringify(document);
  socket.end(
    `HTTP/1.1 ${document.status} ${STATUS_CODES[document.status]}\r\ncontent-type: ${problemType}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}
