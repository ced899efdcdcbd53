import type { FastifyInstance, FastifyRequest } from 'fastify';
import { HttpProblem } from './problems.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** the body's bytes, as they came */
    rawBody: Buffer | null;
  }
}

/** Deeper than anything of ours, and far from where walking a document would exhaust the stack. */
const deepest = 32;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** JSON is the only body that this server takes. */
export function installJsonBody(app: FastifyInstance): void {
  app.decorateRequest('rawBody', null);
  app.removeAllContentTypeParsers();
  const parse = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, bytes: Buffer, done) => {
    request.rawBody = bytes;
    let text: string;
    try {
      text = utf8.decode(bytes);
    } catch {
      return done(new HttpProblem('MALFORMED_JSON', 'the body is not UTF-8'));
    }
    parse(request, text, (error, document: unknown) => {
      if (error) return done(error, undefined);
      const why = unfit(document);
      if (why) done(new HttpProblem('MALFORMED_JSON', why));
      else done(null, document);
    });
  });
}

/** In a scope of its own: the bytes are handed on as they are, for somebody else to parse. */
export function installBytesBody(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    (_request: FastifyRequest, bytes: Buffer, done) => done(null, bytes),
  );
}

/** Texts that PostgreSQL cannot hold, and nesting that only an attack would use. Without recursion, for that reason. */
function unfit(document: unknown): string | null {
  const stack: { value: unknown; depth: number }[] = [{ value: document, depth: 0 }];
  const bad = /\0|\p{Surrogate}/u;
  for (let top = stack.pop(); top; top = stack.pop()) {
    const { value, depth } = top;
    if (typeof value === 'string') {
      if (bad.test(value)) return 'a text in the body holds a NUL or half of a surrogate pair';
    } else if (value !== null && typeof value === 'object') {
      if (depth >= deepest) return `the body is nested deeper than ${deepest} levels`;
      for (const [name, each] of Object.entries(value)) {
        if (!Array.isArray(value) && bad.test(name))
          return 'a name in the body holds a NUL or half of a surrogate pair';
        if (typeof each === 'string' || typeof each === 'object')
          stack.push({ value: each, depth: depth + 1 });
      }
    }
  }
  return null;
}
