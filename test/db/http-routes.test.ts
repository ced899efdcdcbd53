import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { featureSpec, featureSpecHash } from '../../src/features/spec.ts';
import type { StatusDocument } from '../../src/migration/status.ts';
import type { StoredManifest } from '../../src/model/manifest.ts';
import { migrationOf } from '../support/migrations.ts';
import { httpRig, type Rig, secrets, tables } from './http-rig.ts';

let rig: Rig;
let url: string;
beforeAll(async () => {
  rig = await httpRig({
    thread: 'real',
    setup: `${tables}
      create table s2 (id bigint primary key, n int);
      create table t2 (id bigint primary key, n int);
      insert into s2 select i, i from generate_series(1, 50) i;
      create table sb3 (id int primary key, n int);
      create table tb3 (id bigint primary key, n int);
      insert into sb3 select i, i from generate_series(1, 50) i;
      create table sb4 (like sb3 including all);
      create table tb4 (like tb3 including all);
      create table sb5 (like sb3 including all);
      create table tb5 (like tb3 including all, note text default 'new');
      alter table sb5 add column lost int;`,
  });
  ({ url } = await rig.listen());
});

const get = (path: string) => rig.ask({ method: 'GET', url: path });
const post = (path: string, payload?: object) =>
  rig.ask({ method: 'POST', url: path, ...(payload ? { payload } : {}) });
const statusOf = async (name: string): Promise<StatusDocument> =>
  (await get(`/api/v1/migrations/${name}/status`)).json();

async function until(name: string, holds: (status: StatusDocument) => boolean): Promise<StatusDocument> {
  const deadline = performance.now() + 25_000;
  for (;;) {
    const status = await statusOf(name);
    if (holds(status)) return status;
    if (performance.now() > deadline)
      throw new Error(
        `${name} is ${status.status}, ${status.phase}: ${status.wait_reason} ${JSON.stringify(status.error)}`,
      );
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('a whole migration over HTTP', () => {
  const m = '/api/v1/migrations/m';
  const file = migrationOf({ cutover: { reads: 'operator', writes: 'operator' } });

  test('is created, and created again with the same file', async () => {
    for (let i = 0; i < 2; i++) {
      const created = await post('/api/v1/migrations', file);
      expect(created.statusCode).toBe(202);
      expect(created.headers.location).toBe(m);
      expect(created.json()).toMatchObject({ name: 'm', definition: { source: 'public.s' } });
    }
    const other = await post('/api/v1/migrations', { ...file, shadow: { ...file.shadow, seed: 2 } });
    expect(other.json()).toMatchObject({ status: 409, code: 'CONFLICT' });
  });

  test('shows what its file left out', async () => {
    const small = { name: 'n', source: 'public.s2', target: 'public.t2', key: ['id'] };
    const created = await post('/api/v1/migrations', small);
    expect(created.statusCode).toBe(202);
    expect(created.json().definition).toMatchObject({ copy: { lanes: 2 }, cutover: { writes: 'operator' } });
    expect((await get('/api/v1/migrations/n')).json().definition).toEqual(created.json().definition);
  });

  test('is listed, in pages', async () => {
    const all = (await get('/api/v1/migrations')).json();
    expect(all.migrations.map((each: { name: string }) => each.name)).toEqual(['m', 'n']);
    expect(all.next_cursor).toBeNull();
    const first = (await get('/api/v1/migrations?limit=1')).json();
    expect(first.migrations).toHaveLength(1);
    const second = (await get(`/api/v1/migrations?limit=1&cursor=${first.next_cursor}`)).json();
    expect(second.migrations).toEqual([all.migrations[1]]);
    expect(second.next_cursor).toBeNull();
    for (const query of [
      'limit=0',
      'limit=201',
      'limit=x',
      'cursor=-1',
      'cursor=9999999999',
      'limit=1&limit=2',
      'x=1',
    ])
      expect((await get(`/api/v1/migrations?${query}`)).json(), query).toMatchObject({
        status: 400,
        code: 'BAD_REQUEST',
      });
  });

  test('takes accesses, and scores', async () => {
    const now = Date.now() / 1000;
    const events = Array.from({ length: 200 }, (_, i) => ({
      key: [String((i % 5) + 1)],
      op: 'R',
      at: now - i,
    }));
    const stored = await post('/api/v1/access-events', {
      migration: 'm',
      events: [...events, { key: ['7'], op: 'W', weight: 2.5 }],
    });
    expect([stored.statusCode, stored.json()]).toEqual([202, { schema: 1, accepted: 201 }]);
    const { rows } = await rig.db.pool.query('select source, accesses from foreshadow.access_batch');
    expect(rows).toContainEqual({ source: 'reported', accesses: 201 });

    await expect
      .poll(
        async () => (await post('/api/v1/scores', { migration: 'm', keys: [['1']] })).json().scores?.[0],
        {
          timeout: 10_000,
        },
      )
      .toMatchObject({ key: ['1'], known: true });
    const scored = await post('/api/v1/scores', { migration: 'm', keys: [['1'], ['299'], ['no such key']] });
    const [hot, cold, unknown] = scored.json().scores;
    expect(hot.score).toBeGreaterThan(cold.score);
    expect([cold.known, unknown.known]).toEqual([false, false]);
    expect(scored.headers['content-type']).toBe('application/json; charset=utf-8');
  });

  test.each([
    ['a key with too many parts', { key: ['1', '2'], op: 'R' }, '/events/0/key'],
    ['an access of tomorrow', { key: ['1'], op: 'R', at: Date.now() / 1000 + 90_000 }, '/events/0/at'],
    ['milliseconds', { key: ['1'], op: 'R', at: Date.now() }, '/events/0/at'],
    ['no operation', { key: ['1'] }, '/events/0'],
    ['a weight of nothing', { key: ['1'], op: 'R', weight: 0 }, '/events/0/weight'],
    ['a number as key', { key: [1], op: 'R' }, '/events/0/key/0'],
  ])('refuses as access: %s', async (_title, event, pointer) => {
    const refused = await post('/api/v1/access-events', { migration: 'm', events: [event] });
    expect(refused.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' });
    expect(refused.json().errors).toContainEqual(expect.objectContaining({ in: 'body', pointer }));
  });

  test.each([
    ['no keys', { migration: 'm', keys: [] }, 400],
    ['a number as key', { migration: 'm', keys: [[1]] }, 400],
    ['too many parts', { migration: 'm', keys: [['1', '2']] }, 400],
    ['an unknown field', { migration: 'm', keys: [['1']], top: 1 }, 400],
    ['another migration', { migration: 'none', keys: [['1']] }, 404],
    ['no migration', { keys: [['1']] }, 400],
  ])('refuses to score: %s', async (_title, body, status) => {
    expect((await post('/api/v1/scores', body)).json()).toMatchObject({ status });
  });

  test('is steered to its end', async () => {
    await until('m', ({ status }) => status === 'READY');
    // its report is held to the document in statements.test.ts
    expect((await get(`${m}/statements`)).json()).toMatchObject({ status: 400, code: 'BAD_MIGRATION_FILE' });
    expect((await post(`${m}/cutover`, { what: 'writes' })).json()).toMatchObject({
      status: 409,
      code: 'GATE_SHUT',
    });
    const ordered = await post(`${m}/cutover`, { what: 'reads' });
    expect([ordered.statusCode, ordered.headers.location]).toEqual([202, m]);
    await until('m', ({ status, phase }) => status === 'IN_PROGRESS' && phase === 'ready');
    expect((await post(`${m}/cutover`, { what: 'reads', terminate_blockers: true })).json()).toMatchObject({
      status: 400,
      code: 'BAD_REQUEST',
      errors: [{ pointer: '/terminate_blockers' }],
    });
    expect((await post(`${m}/cutover`, { what: 'writes', terminate_blockers: true })).statusCode).toBe(202);
    const done = await until('m', ({ status }) => status === 'COMPLETED');
    expect(done.verification).toMatchObject({ missing: 0, extra: 0, different: 0 });
    expect((await rig.db.pool.query('select count(*)::int as n from s')).rows).toEqual([{ n: 300 }]);
    expect((await post(`${m}/throttle`, { maxActive: 3 })).json()).toMatchObject({ code: 'CONFLICT' });
    expect((await post(`${m}/shadow`, { fraction: 0.3 })).json()).toMatchObject({ code: 'CONFLICT' });
    for (const action of ['pause', 'abort', 'verify'])
      expect((await post(`${m}/${action}`)).json(), action).toMatchObject({ status: 409, code: 'CONFLICT' });
    expect(
      (await post('/api/v1/access-events', { migration: 'm', events: [{ key: ['1'], op: 'R' }] })).json(),
    ).toMatchObject({ status: 409, code: 'CONFLICT' });
  });

  test('another one is paused, goes on, and is given up', async () => {
    await until('n', ({ status }) => status === 'SHADOWING' || status === 'READY');
    const turned = await post('/api/v1/migrations/n/throttle', { maxActive: 3, rowsPerSecond: 'none' });
    expect([turned.statusCode, turned.headers.location]).toEqual([202, '/api/v1/migrations/n']);
    for (const bad of [{}, { maxActive: 0 }, { maxLag: 'soon' }, { speed: 1 }])
      expect((await post('/api/v1/migrations/n/throttle', bad)).statusCode, JSON.stringify(bad)).toBe(400);
    await until('n', ({ throttle }) => throttle?.knobs.maxActive === 3);
    await post('/api/v1/migrations/n/throttle', { maxActive: null });
    await until('n', ({ throttle }) => throttle?.knobs.maxActive === undefined);
    expect((await post('/api/v1/migrations/n/shadow', { fraction: 0.3 })).statusCode).toBe(202);
    expect((await post('/api/v1/migrations/n/shadow', { fraction: 0.9 })).statusCode).toBe(400);
    expect((await statusOf('n')).shadow_table_status.fraction).toBe(0.3);
    expect((await post('/api/v1/migrations/n/pause')).statusCode).toBe(202);
    expect((await statusOf('n')).status).toBe('PAUSED');
    const resumed = await post('/api/v1/migrations/n/resume', {});
    expect(resumed.json().status.status).not.toBe('PAUSED');
    expect((await post('/api/v1/migrations/n/abort', { force: true })).json()).toMatchObject({ status: 400 });
    expect((await post('/api/v1/migrations/n/abort')).statusCode).toBe(202);
    await until('n', ({ status }) => status === 'ABORTED');
  });

  test('the way back: rolled back, or finalized, or none', async () => {
    const name = (i: number) => `back-${i}`;
    const of = (i: number) => `/api/v1/migrations/${name(i)}`;
    for (const i of [3, 4, 5]) {
      const body = migrationOf({
        name: name(i),
        source: `public.sb${i}`,
        target: `public.tb${i}`,
        map: { id: 'id::bigint' },
      });
      expect((await post('/api/v1/migrations', body)).statusCode).toBe(202);
    }
    expect((await post(`${of(3)}/rollback`)).json()).toMatchObject({ status: 409, code: 'CONFLICT' });
    expect((await post(`${of(3)}/finalize`, {})).json()).toMatchObject({ status: 409, code: 'CONFLICT' });
    for (const i of [3, 4, 5]) await until(name(i), ({ status }) => status === 'COMPLETED');
    expect((await statusOf(name(5))).way_back).toEqual({
      open: false,
      reasons: ['nothing in the target gives these columns of the source back: lost'],
      behind: null,
    });
    expect((await post(`${of(5)}/rollback`)).json()).toMatchObject({ status: 409, code: 'NO_WAY_BACK' });
    await rig.db.pool.query('update sb3 set n = n + 1; insert into sb3 values (77, 77)');
    expect((await post(`${of(3)}/rollback`, { terminate: true })).json()).toMatchObject({ status: 400 });
    const settled = `select from foreshadow.migration_status where name = 'back-3' and settled_at is not null`;
    await expect.poll(async () => (await rig.db.pool.query(settled)).rowCount, { timeout: 10_000 }).toBe(1);
    const holder = await rig.db.client();
    await holder.query('begin; update sb3 set n = n where id = 1');
    expect((await post(`${of(3)}/rollback`)).statusCode).toBe(202);
    await until(
      name(3),
      ({ wait_reason }) => wait_reason?.includes('waiting for long transactions') ?? false,
    );
    // a second word to the same order
    expect((await post(`${of(3)}/rollback`, { terminate_blockers: true })).statusCode).toBe(202);
    expect((await post(`${of(4)}/finalize`, { drop: true })).json()).toMatchObject({ status: 400 });
    expect((await post(`${of(4)}/finalize`, { drop_old: true })).statusCode).toBe(202);
    expect((await post(`${of(5)}/finalize`, {})).statusCode).toBe(202);
    await until(name(3), ({ status }) => status === 'ROLLED_BACK');
    await expect(holder.query('commit')).rejects.toThrow();
    const { rows: ended } = await rig.db.pool.query(
      `select detail ->> 'by' as by, detail ->> 'during' as during from foreshadow.migration_event where kind = 'terminated'`,
    );
    expect(ended).toEqual([{ by: 'admin', during: 'rollback' }]);
    for (const i of [4, 5]) await until(name(i), ({ status }) => status === 'FINALIZED');
    const { rows } = await rig.db.pool.query(
      `select pg_typeof(id)::text as type, count(*)::int as n, sum(n)::int as sum from sb3 group by 1`,
    );
    expect(rows).toEqual([{ type: 'integer', n: 51, sum: 1275 + 50 + 77 }]);
    await expect
      .poll(
        async () =>
          (
            await rig.db.pool.query(
              `select to_regclass('foreshadow.sb4_old') as dropped, to_regclass('foreshadow.sb5_old')::text as kept`,
            )
          ).rows,
      )
      .toEqual([{ dropped: null, kept: 'foreshadow.sb5_old' }]);
  }, 60_000);

  test('tells of it in a stream', async () => {
    const answer = await fetch(`${url}${m}/events`, {
      headers: { authorization: `Bearer ${secrets.reader}` },
    });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    let text = '';
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString();
      // an event is told once no older transaction runs, in any database of the server
      if (text.includes('event: snapshot') && text.includes('"to_status":"COMPLETED"')) break;
    }
    expect(text).toMatch(/id: \d+-\d+\nevent: status\ndata: \{.*"to_status":"COMPLETED"/);
    rig.asked.add('GET /api/v1/migrations/{name}/events');
    expect((await get('/api/v1/migrations/none/events')).statusCode).toBe(404);
  });
});

describe('jobs', () => {
  test('are listed in pages, and shown', async () => {
    const all = (await get('/api/v1/jobs')).json().jobs;
    expect(all.length).toBeGreaterThan(1);
    const first = (await get('/api/v1/jobs?limit=1')).json();
    expect(first.jobs).toHaveLength(1);
    const second = (await get(`/api/v1/jobs?limit=1&cursor=${first.next_cursor}`)).json();
    expect(second.jobs[0].id).not.toBe(first.jobs[0].id);
    expect((await get(`/api/v1/jobs/${first.jobs[0].id}`)).json()).toEqual(first.jobs[0]);
    const some = (await get('/api/v1/jobs?kind=migrate&migration=m&state=completed')).json().jobs;
    for (const job of some)
      expect(job).toMatchObject({ kind: 'migrate', migration: 'm', state: 'completed' });
    const none = '00000000-0000-0000-0000-000000000000';
    expect((await get(`/api/v1/jobs/${none}`)).json()).toMatchObject({ status: 404, code: 'JOB_UNKNOWN' });
    expect((await get('/api/v1/jobs/1%27or%271')).statusCode).toBe(400);
  });

  test('are sent, once', async () => {
    await rig.db.pool.query('create table s3 (id int primary key); create table t3 (id int primary key)');
    await rig.db.pool.query('insert into s3 select generate_series(1, 20)');
    await post('/api/v1/migrations', { name: 'o', source: 'public.s3', target: 'public.t3', key: ['id'] });
    await until('o', ({ status }) => status === 'SHADOWING' || status === 'READY');
    const sent = await post('/api/v1/jobs', { kind: 'evaluate', migration: 'o' });
    expect(sent.statusCode).toBe(202);
    expect(sent.headers.location).toBe(`/api/v1/jobs/${sent.json().id}`);
    expect(sent.json()).toMatchObject({ kind: 'evaluate', migration: 'o' });
    const idle = await post('/api/v1/migrations/o/verify');
    expect(idle.json()).toMatchObject({ status: 409, code: 'CONFLICT' });
    expect((await post('/api/v1/jobs', { kind: 'evaluate', migration: 'none' })).statusCode).toBe(404);
    expect((await post('/api/v1/jobs', { kind: 'drop', migration: 'o' })).statusCode).toBe(400);
  });
});

describe('models', () => {
  test('are listed, with their manifests', async () => {
    const root = rig.db.ctx.config.modelsDir;
    const folder = join(root, 'shop', '0001');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
    const list = (await get('/api/v1/models')).json().models;
    expect(list).toContainEqual({ name: 'shop', versions: 1, latest: '0001' });
    expect((await get('/api/v1/models/shop')).json()).toMatchObject({ latest: '0001', versions: ['0001'] });
    expect((await get('/api/v1/models/shop/versions/0001')).json().manifest).toEqual(manifest);
    expect((await get('/api/v1/models/shop')).json().labels).toEqual({ stable: null, canary: null });
    await writeFile(
      join(root, 'shop', 'labels.json'),
      JSON.stringify({ schema: 1, labels: { stable: '0001' }, before: [] }),
    );
    expect((await get('/api/v1/models/shop')).json().labels).toEqual({ stable: '0001', canary: null });
    expect((await get('/api/v1/models/shop/versions/stable')).json()).toMatchObject({ version: '0001' });
    for (const path of ['none', 'none/versions/0001', 'shop/versions/0002', 'shop/versions/canary'])
      expect((await get(`/api/v1/models/${path}`)).json()).toMatchObject({
        status: 404,
        code: 'MODEL_UNKNOWN',
      });
  });
});

describe('the service', () => {
  test('answers probes', async () => {
    for (const probe of ['live', 'startup', 'ready']) {
      const answer = await rig.ask({ method: 'GET', url: `/health/${probe}`, as: null });
      expect([answer.statusCode, answer.json()]).toEqual([200, { status: 'ok', missing: [] }]);
    }
  });

  test('counts, without keys in labels', async () => {
    const text = (await get('/metrics')).body;
    for (const line of [
      /^foreshadow_http_request_duration_seconds_count\{method="POST",route="\/api\/v1\/scores",status="200"\} \d+$/m,
      /^foreshadow_migration_state\{migration="m",state="COMPLETED"\} 1$/m,
      /^foreshadow_migration_state\{migration="m",state="READY"\} 0$/m,
      /^foreshadow_migration_rows\{migration="m"\} 300$/m,
      /^foreshadow_migration_migrated_rows\{migration="m"\} 300$/m,
      /^foreshadow_migration_confidence_level\{migration="m"\} [\d.]+$/m,
      /^foreshadow_scored_keys_total [1-9]\d*$/m,
      /^foreshadow_jobs\{kind="migrate",state="\w+"\} \d+$/m,
      /^foreshadow_database_up 1$/m,
      /^foreshadow_process_cpu_seconds_total /m,
    ])
      expect(text).toMatch(line);
    expect(text).not.toMatch(/no such key|\/migrations\/m\b/);
    for (const line of text.split('\n'))
      if (line && !line.startsWith('#')) expect(line).toMatch(/^foreshadow_/);
  });

  test('serves its page from itself alone', async () => {
    const page = await rig.ask({ method: 'GET', url: '/docs', as: null });
    expect(page.statusCode).toBe(200);
    expect(page.headers['content-security-policy']).toMatch(/default-src 'self'/);
    expect(page.headers['content-security-policy']).not.toMatch(/https:|upgrade|validator/);
    expect((await rig.ask({ method: 'GET', url: '/docs/static/swagger-ui.css', as: null })).statusCode).toBe(
      200,
    );
    for (const path of ['%2e%2e/package.json', '..%2f..%2fpackage.json', '%2e%2e%2f%2e%2e%2fpackage.json'])
      expect((await get(`/docs/static/${path}`)).statusCode, path).not.toBe(200);
  });

  test('says what is missing when it is not ready', async () => {
    const notYet = await httpRig({ thread: null });
    const ready = () => notYet.ask({ method: 'GET', url: '/health/ready', as: null });
    expect((await ready()).json()).toEqual({
      status: 'not ready',
      missing: ['the thread of jobs and scores has not started'],
    });
    expect((await notYet.ask({ method: 'GET', url: '/health/startup', as: null })).statusCode).toBe(503);
    const scores = await notYet.ask({
      method: 'POST',
      url: '/api/v1/scores',
      payload: { migration: 'm', keys: [['1']] },
    });
    expect(scores.json()).toMatchObject({ status: 503, code: 'NOT_READY' });
    await notYet.db.pool.query('drop schema foreshadow cascade');
    expect((await ready()).json().missing).toContainEqual(expect.stringMatching(/lacks our schema/));
    expect((await notYet.ask({ method: 'GET', url: '/api/v1/migrations' })).json()).toMatchObject({
      status: 409,
      code: 'NOT_INITIALISED',
    });
    expect((await notYet.ask({ method: 'GET', url: '/metrics' })).body).toMatch(
      /^foreshadow_database_up 0$/m,
    );
    notYet.draining.abort();
    expect((await ready()).json().missing).toEqual(['the server is about to stop']);
    expect((await notYet.ask({ method: 'GET', url: '/health/live', as: null })).statusCode).toBe(200);
  });
});

describe('the OpenAPI document', () => {
  test('is one, of version 3.1', async () => {
    const document = (await rig.ask({ method: 'GET', url: '/openapi.json', as: null })).json();
    expect(await new Validator().validate(document)).toMatchObject({ valid: true });
    expect(document.openapi).toMatch(/^3\.1\./);
  });

  test('tells of every route', () => {
    const documented = new Set(operations());
    const routes = routesOf(rig.app.printRoutes({ commonPrefix: false, includeHooks: false }));
    expect(routes.length).toBeGreaterThan(20);
    for (const route of routes) expect(documented).toContain(route);
  });

  // what the tests above have asked; each answer was held to the document
  afterAll(() => expect(operations().filter((operation) => !rig.asked.has(operation))).toEqual([]));
});

/** A model whose weights nobody reads. */
const manifest: StoredManifest = {
  schema: 2,
  created_at: '2026-01-01T00:00:00.000Z',
  training: { sha256: '0'.repeat(64), events: 10, keys: 5, from: null, until: 90 },
  feature_spec: featureSpec(900) as StoredManifest['feature_spec'],
  feature_spec_hash: featureSpecHash(featureSpec(900)),
  seed: 1,
  horizon_seconds: 900,
  half_life: { index: 0, seconds: 60, reason: 'the best of all' },
  group_half_life: { index: 0, seconds: 60, reason: 'the best of all' },
  base: 'ewma',
  calibration: { score: [], mean: [], unseen_share: 0 },
  change_weight: 1,
  budget: 0.1,
  table_rows: null,
  predictor: 'ewma',
  reason: 'nothing beats it',
  gains: {},
  metrics: [],
  network: { trained: false, rows: 0, steps: 0, loss_before: null, loss_after: null },
  unknown: { accesses: 0, changes: 0 },
  tfjs_version: '4.22.0',
  backend: 'wasm',
  files: { model_json_sha256: '1'.repeat(64), weights_bin_sha256: '2'.repeat(64) },
};

function operations(): string[] {
  const { paths } = rig.app.swagger() as { paths: Record<string, Record<string, unknown>> };
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
  );
}

/** From Fastify's drawing of its tree: 'GET /api/v1/jobs/{id}' … without the page and without HEAD. */
function routesOf(tree: string): string[] {
  const above: string[] = [];
  return tree.split('\n').flatMap((line) => {
    const [, indent = '', part = '', methods = ''] = /^(.*?)[├└]── (\S+) \((.*)\)$/.exec(line) ?? [];
    const depth = indent.length / 4;
    above.length = depth;
    above.push(part);
    const path = above.join('').replace(/:(\w+)/g, '{$1}');
    if (!part || path.startsWith('/docs')) return [];
    return methods
      .split(', ')
      .filter((method) => method !== 'HEAD')
      .map((method) => `${method} ${path}`);
  });
}
