import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type HttpSettings, isLoopback, type Role, roles, type Token } from '../config/http-settings.ts';
import { HttpProblem } from './problems.ts';

export interface Actor {
  /** the token's name; 'local' without tokens */
  readonly name: string;
  readonly role: Role;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** null on routes that anybody may ask */
    actor: Actor | null;
  }
  interface FastifyContextConfig {
    /** the least role; by default read for GET and operate for the rest */
    role?: Role | 'public';
  }
}

const local: Actor = { name: 'local', role: 'admin' };
const publicPages = /^\/docs(\/|$)/;
/** Failed attempts a minute from one address before it has to wait, whatever it sends then. */
export const mostFailures = 20;
const failureWindow = 60_000;

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Compares with every token, each in constant time, so that the time tells nothing about any of them. */
export function tokenFinder(tokens: readonly Token[]): (secret: string) => Token | null {
  const known = tokens.map((token) => ({ token, hash: digest(token.secret) }));
  return (secret) => {
    const given = digest(secret);
    let found: Token | null = null;
    for (const { token, hash } of known) {
      if (timingSafeEqual(given, hash)) found = token;
    }
    return found;
  };
}

/** Who asks, and whether they may. Rates and roles are checked later; see {@link installRoles}. */
export function installAuthentication(app: FastifyInstance, settings: HttpSettings): void {
  app.decorateRequest('actor', null);
  const failures = new Failures();
  const findToken = tokenFinder(settings.tokens);
  app.addHook('onRequest', async (request) => {
    if (settings.tokens.length === 0) {
      requireLocal(request);
      request.actor = local;
      return;
    }
    if (isPublic(request)) return;
    const header = request.headers.authorization;
    if (header === undefined)
      throw new HttpProblem('UNAUTHENTICATED', 'a token is needed', {
        headers: { 'www-authenticate': 'Bearer realm="foreshadow"' },
      });
    const wait = failures.secondsToWait(request.ip);
    if (wait > 0)
      throw new HttpProblem('RATE_LIMITED', `too many failed attempts from this address; wait ${wait} s`, {
        headers: { 'retry-after': String(wait) },
      });
    const secret = /^Bearer +([A-Za-z0-9._~+/-]{1,512}=*)$/i.exec(header)?.[1];
    const token = secret === undefined ? null : findToken(secret);
    if (!token) {
      failures.count(request.ip);
      throw new HttpProblem('UNAUTHENTICATED', 'this token is not known', {
        headers: { 'www-authenticate': 'Bearer realm="foreshadow", error="invalid_token"' },
      });
    }
    request.actor = { name: token.name, role: token.role };
  });
}

function isPublic(request: FastifyRequest): boolean {
  return request.routeOptions.config?.role === 'public' || publicPages.test(request.routeOptions.url ?? '');
}

/**
 * Adds the check of roles to every route that is registered from now on. To be installed after the limit of rates:
 * what is refused here is written down, and must not come at any rate.
 */
export function installRoles(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    const needed =
      route.config?.role ?? (['GET', 'HEAD'].includes(String(route.method)) ? 'read' : 'operate');
    if (needed === 'public' || publicPages.test(route.url)) return;
    const check = async (request: FastifyRequest) => requireRole(request, needed);
    route.onRequest = [...[route.onRequest ?? []].flat(), check];
  });
}

/** @throws HttpProblem FORBIDDEN, naming the role that is needed */
export function requireRole(request: FastifyRequest, needed: Role, why = 'this request'): void {
  const role = request.actor?.role;
  if (role && roles.indexOf(role) >= roles.indexOf(needed)) return;
  throw new HttpProblem('FORBIDDEN', `${why} needs the role ${needed}; this token has ${role ?? 'none'}`);
}

/**
 * Without tokens whoever reaches the port may do everything, so it must not be a web page: neither one that has its own
 * name resolve to 127.0.0.1 (Host), nor one that sends a form or a fetch across origins (Origin).
 */
function requireLocal(request: FastifyRequest): void {
  const host = request.headers.host ?? '';
  const name = /^(\[[0-9a-f:]+\]|[^:[\]]+)(:\d+)?$/i.exec(host)?.[1]?.replace(/^\[|\]$/g, '') ?? '';
  if (!isLoopback(name.toLowerCase()))
    throw new HttpProblem('HOST_REFUSED', 'the header Host does not name this machine');
  const { origin } = request.headers;
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`)
    throw new HttpProblem('ORIGIN_REFUSED', 'the request comes from a page of another origin');
}

/** Failed attempts by address, in windows of a minute; the oldest address goes when there are too many. */
class Failures {
  readonly #byAddress = new Map<string, { count: number; until: number }>();

  secondsToWait(address: string): number {
    const entry = this.#byAddress.get(address);
    if (!entry || entry.count < mostFailures) return 0;
    return Math.max(0, Math.ceil((entry.until - performance.now()) / 1000));
  }

  count(address: string): void {
    const now = performance.now();
    const entry = this.#byAddress.get(address);
    if (entry && entry.until > now) {
      entry.count += 1;
      return;
    }
    this.#byAddress.delete(address);
    this.#byAddress.set(address, { count: 1, until: now + failureWindow });
    if (this.#byAddress.size <= 10_000) return;
    const oldest = this.#byAddress.keys().next().value;
    if (oldest !== undefined) this.#byAddress.delete(oldest);
  }
}
