import { type AddressInfo, connect, type Socket } from 'node:net';
import Ajv2020 from 'ajv/dist/2020.js';
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';
import { expect } from 'vitest';
import type { HttpSettings } from '../../src/config/http-settings.ts';
import { type Backend, defaultLimits, type Limits } from '../../src/http/backend.ts';
import { buildServer } from '../../src/http/server.ts';
import { JobQueue } from '../../src/jobs/queue.ts';
import { type EngineThread, startThread } from '../../src/jobs/thread.ts';
import { catalogueOf, rowsOnDisk } from '../support/catalogue.ts';
import { afterFile } from '../support/database.ts';
import { type MigrationDatabase, migrationDatabase } from '../support/migrations.ts';

export const secrets = {
  reader: 'reader-secret-0123456789',
  operator: 'operator-secret-0123456789',
  admin: 'admin-secret-0123456789',
} as const;
export type Who = keyof typeof secrets;

const tokens: HttpSettings['tokens'] = [
  { name: 'reader', role: 'read', secret: secrets.reader },
  { name: 'operator', role: 'operate', secret: secrets.operator },
  { name: 'admin', role: 'admin', secret: secrets.admin },
];

export interface Rig {
  readonly db: MigrationDatabase;
  readonly app: FastifyInstance;
  readonly backend: Backend;
  readonly draining: AbortController;
  /** asks without a socket; the answer is held to the OpenAPI document */
  ask(request: InjectOptions & { as?: Who | null }): Promise<LightMyRequestResponse>;
  /** 'GET /api/v1/migrations/{name}' of every request that met a route */
  readonly asked: Set<string>;
  /** a real socket on 127.0.0.1 */
  listen(): Promise<{ port: number; url: string }>;
}

export interface RigOptions {
  readonly setup?: string;
  /** false: nobody needs a token, as on loopback by default */
  readonly tokens?: boolean;
  readonly rateLimit?: number;
  readonly limits?: Partial<Limits>;
  /** 'real': the engine's thread; by default one that does nothing, for what never reaches it */
  readonly thread?: 'real' | Pick<EngineThread, 'scores' | 'health'> | null;
  readonly log?: Backend['ctx']['log'];
}

/** Never asked for a score in tests that leave it in place. */
export const idleThread: Pick<EngineThread, 'scores' | 'health'> = {
  scores: async () => {
    throw new Error('no score is expected here');
  },
  health: () => ({ beat_age_s: 0, jobs: { running: [], done: 0, failed: 0 } }),
};

/** A server on a database of its own. Everything is closed at the end of the file. */
export async function httpRig(options: RigOptions = {}): Promise<Rig> {
  const db = await migrationDatabase(options.setup);
  const ctx = options.log ? { ...db.ctx, log: options.log } : db.ctx;
  const queue = await JobQueue.open(ctx.pool, ctx.log);
  const real = options.thread === 'real' ? await startThread({ config: ctx.config, jobs: true }) : null;
  const thread =
    options.thread === 'real' ? real : options.thread === undefined ? idleThread : options.thread;
  const draining = new AbortController();
  const backend: Backend = {
    ctx,
    settings: {
      host: '127.0.0.1',
      port: 0,
      tokens: options.tokens === false ? [] : tokens,
      rateLimit: options.rateLimit ?? 0,
    },
    limits: { ...defaultLimits, eventLoopDelay: 0, ...options.limits },
    queue,
    thread: () => thread as ReturnType<Backend['thread']>,
    draining: draining.signal,
  };
  const app = await buildServer(backend);
  const end = db.pool.end.bind(db.pool);
  db.pool.end = (async () => {
    draining.abort();
    app.server.closeAllConnections();
    await app.close();
    await real?.stop(5_000);
    await queue.close();
    await end();
  }) as typeof db.pool.end;

  const contract = new Contract(app.swagger() as unknown as OpenapiDocument);
  const asked = new Set<string>();
  return {
    db,
    app,
    backend,
    draining,
    asked,
    async ask({ as = 'admin', ...request }) {
      const headers = {
        ...(as && options.tokens !== false ? { authorization: `Bearer ${secrets[as]}` } : {}),
        ...request.headers,
      };
      const response = await app.inject({ ...request, headers });
      const operation = contract.check(String(request.method ?? 'GET'), String(request.url), response);
      if (operation) asked.add(operation);
      return response;
    },
    async listen() {
      await app.listen({ host: '127.0.0.1', port: 0 });
      const { port } = app.server.address() as AddressInfo;
      return { port, url: `http://127.0.0.1:${port}` };
    },
  };
}

interface OpenapiDocument {
  readonly paths: Record<
    string,
    Record<string, { responses: Record<string, { content?: Record<string, unknown> }> }>
  >;
  readonly components: { readonly schemas: Record<string, object> };
}

/** The OpenAPI document as a test: every answer must be one that it tells of. */
class Contract {
  readonly #document: OpenapiDocument;
  readonly #ajv = new Ajv2020.default({ strict: false, allErrors: true, validateFormats: false });

  constructor(document: OpenapiDocument) {
    this.#document = JSON.parse(JSON.stringify(document));
    this.#ajv.addSchema({ ...(withoutIds(this.#document) as object), $id: 'openapi' });
  }

  check(method: string, url: string, response: LightMyRequestResponse): string | null {
    const path = url.split('?', 1)[0] as string;
    const found = Object.keys(this.#document.paths).find((pattern) =>
      new RegExp(`^${pattern.replace(/\{[^}]+\}/g, '[^/]+')}$`).test(path),
    );
    const operation = found ? this.#document.paths[found]?.[method.toLowerCase()] : undefined;
    const status = String(response.statusCode);
    const type = String(response.headers['content-type'] ?? '').split(';')[0] as string;
    const what = `${method} ${path} → ${status} ${type}`;
    if (!found || !operation) {
      if (response.statusCode >= 400) this.#validate('#/components/schemas/Problem', response, what);
      return null;
    }
    const key = status in operation.responses ? status : 'default';
    const contents = operation.responses[key]?.content ?? {};
    expect(Object.keys(contents), what).toContain(type);
    if (type.includes('json')) {
      const steps = ['paths', found, method.toLowerCase(), 'responses', key, 'content', type, 'schema'];
      const pointer = steps.map((step) =>
        encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1')),
      );
      this.#validate(`#/${pointer.join('/')}`, response, what);
      if (response.statusCode >= 400 && type === 'application/problem+json')
        expect(response.json(), what).toMatchObject({ status: response.statusCode, instance: path });
    }
    return `${method.toUpperCase()} ${found}`;
  }

  #validate(pointer: string, response: LightMyRequestResponse, what: string): void {
    const validate = this.#ajv.getSchema(`openapi${pointer}`);
    if (!validate) throw new Error(`no schema at ${pointer}`);
    validate(response.json());
    expect(validate.errors ?? [], `${what}: ${response.body.slice(0, 500)}`).toEqual([]);
  }
}

/** An $id inside would change what the references around it mean. */
function withoutIds(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(withoutIds);
  if (node === null || typeof node !== 'object') return node;
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key, value]) => key !== '$id' || typeof value !== 'string')
      .map(([key, value]) => [key, withoutIds(value)]),
  );
}

/** Bytes on a socket, and everything that comes back until it ends. */
export function rawSocket(port: number): { socket: Socket; answer: Promise<string> } {
  const socket = connect(port, '127.0.0.1');
  const answer = new Promise<string>((resolve) => {
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    socket.on('error', () => {}).on('close', () => resolve(text));
  });
  afterFile(async () => void socket.destroy());
  return { socket, answer };
}

/** Everything that a refused request must leave as it was. */
async function everything({ db: { pool } }: Rig): Promise<unknown> {
  const counts = await pool.query(
    `select (select count(*) from foreshadow.migration_status) as migrations,
            (select count(*) from foreshadow.migration_event) as events,
            (select count(*) from foreshadow.access_batch) as batches,
            (select count(*) from foreshadow.idempotency) as keys,
            (select count(*) from foreshadow_jobs.job) as jobs`,
  );
  return [
    await catalogueOf(pool),
    await rowsOnDisk(pool, 'public.s'),
    await rowsOnDisk(pool, 'public.t'),
    counts.rows,
  ];
}

export async function nothingChanges(rig: Rig, work: () => Promise<void>): Promise<void> {
  const before = await everything(rig);
  await work();
  expect(await everything(rig)).toEqual(before);
}

export const tables = `
  create table s (id bigint primary key, n int not null, tag text);
  create table t (id bigint primary key, n int not null, tag text);
  insert into s select i, i, 'x' || i from generate_series(1, 300) i;`;

export const file = {
  name: 'm',
  source: 'public.s',
  target: 'public.t',
  key: ['id'],
  // as long as nobody asks for it, nothing happens
  cutover: { reads: 'operator', writes: 'operator' },
};
