import { Writable } from 'node:stream';
import { beforeAll, describe, expect, test } from 'vitest';
import { mostFailures } from '../../src/http/auth.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { file, httpRig, nothingChanges, type Rig, rawSocket, secrets, tables, type Who } from './http-rig.ts';

let rig: Rig;
const lines: string[] = [];
const log = createLogger(
  'debug',
  new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  }),
);
beforeAll(async () => {
  rig = await httpRig({ setup: `${tables}`, log });
});

const post = (url: string, payload: unknown, as: Who | null = 'admin', headers = {}) =>
  rig.ask({ method: 'POST', url, payload: payload as object, as, headers });

const everyPost = [
  ['/api/v1/migrations', file],
  ['/api/v1/migrations/m/cutover', { what: 'reads' }],
  ['/api/v1/migrations/m/pause', undefined],
  ['/api/v1/migrations/m/resume', undefined],
  ['/api/v1/migrations/m/abort', undefined],
  ['/api/v1/migrations/m/verify', undefined],
  ['/api/v1/jobs', { kind: 'mine', migration: 'm' }],
  ['/api/v1/access-events', { migration: 'm', events: [{ key: ['1'], op: 'R' }] }],
] as const;
const everyGet = [
  '/api/v1/migrations',
  '/api/v1/migrations/m',
  '/api/v1/migrations/m/status',
  '/api/v1/migrations/m/events',
  '/api/v1/models',
  '/api/v1/jobs',
  '/metrics',
  '/api/v1/nothing',
];

describe('without a token', () => {
  test('nothing is told and nothing done, whatever is asked', async () => {
    await nothingChanges(rig, async () => {
      for (const url of everyGet) {
        const refused = await rig.ask({ method: 'GET', url, as: null });
        expect(refused.json(), url).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
        expect(refused.headers['www-authenticate']).toBe('Bearer realm="foreshadow"');
      }
      for (const [url, body] of everyPost) expect((await post(url, body, null)).statusCode, url).toBe(401);
      expect((await post('/api/v1/scores', { migration: 'm', keys: [['1']] }, null)).statusCode).toBe(401);
    });
  });

  test('probes and documentation answer', async () => {
    for (const url of ['/health/live', '/health/ready', '/health/startup', '/openapi.json', '/docs'])
      expect((await rig.ask({ method: 'GET', url, as: null })).statusCode, url).toBe(200);
  });

  test.each([
    'Bearer',
    'Bearer ',
    `Basic ${secrets.admin}`,
    secrets.admin,
    `Bearer ${secrets.admin}x`,
    `Bearer ${secrets.admin.slice(0, -1)}`,
    `Bearer ${secrets.admin} ${secrets.admin}`,
    `Bearer ${'x'.repeat(600)}`,
    'Bearer admin',
    'Bearer __proto__',
  ])('%s is none', async (authorization) => {
    const refused = await rig.ask({
      method: 'GET',
      url: '/api/v1/models',
      as: null,
      headers: { authorization },
      remoteAddress: '10.0.0.1',
    });
    expect(refused.json()).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
    expect(refused.headers['www-authenticate']).toMatch(/error="invalid_token"/);
    expect(mostFailures).toBeGreaterThan(10);
  });
});

describe('with too small a role', () => {
  test('read changes nothing, and what it tried is written down', async () => {
    await nothingChanges(rig, async () => {
      for (const [url, body] of everyPost) {
        const refused = await post(url, body, 'reader', { 'idempotency-key': 'r' });
        expect(refused.json(), url).toMatchObject({ status: 403, code: 'FORBIDDEN' });
        expect(refused.json().detail).toContain('operate');
      }
    });
    const { rows } = await rig.db.pool.query(
      "select action, status from foreshadow.audit where actor = 'reader' order by id",
    );
    expect(rows).toEqual(
      everyPost
        .filter(([url]) => url !== '/api/v1/access-events')
        .map(([url]) => ({ action: `POST ${url.replace('migrations/m', 'migrations/:name')}`, status: 403 })),
    );
  });

  test.each([
    ['map', { map: { tag: 's.tag' } }],
    ['back', { back: { tag: 't.tag' } }],
    ['invariants', { invariants: [{ name: 'i', sql: 't.n = s.n' }] }],
    ['queryLog', { queryLog: { path: '/etc/passwd' } }],
    ['predict.calendar', { predict: { calendar: '/etc/passwd' } }],
  ])('operate may not send a file with %s', async (field, more) => {
    await nothingChanges(rig, async () => {
      const refused = await post('/api/v1/migrations', { ...file, ...more }, 'operator', {
        'idempotency-key': 'o',
      });
      expect(refused.json()).toMatchObject({ status: 403, code: 'FORBIDDEN' });
      expect(refused.json().detail).toMatch(new RegExp(`${field}.*role admin; this token has operate`));
    });
  });
});

describe('answers', () => {
  test('carry no invitation for browsers, and their request id', async () => {
    const { headers } = await rig.ask({
      method: 'GET',
      url: '/api/v1/models',
      headers: { 'x-request-id': 'abc-1' },
    });
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none';frame-ancestors 'none'",
      'cache-control': 'no-store',
      'x-request-id': 'abc-1',
    });
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    const forged = await rig.ask({
      method: 'GET',
      url: '/nothing',
      headers: { 'x-request-id': 'a\u00e4"} {' },
    });
    expect(forged.headers['x-request-id']).toMatch(/^[0-9a-f]{8}-/);
    expect(forged.json().request_id).toBe(forged.headers['x-request-id']);
  });

  test('of an unexpected failure say nothing, and neither does the log: no SQL, no value of a row', async () => {
    const { pool } = rig.db;
    await pool.query(
      `create function public.sesame() returns trigger language plpgsql as
         $$ begin raise check_violation using message = 'sesame ' || new, detail = 'sesame ' || new; end $$;
       create trigger sesame before insert on foreshadow.access_store for each row execute function sesame();`,
    );
    await pool.query(
      `insert into foreshadow.migration_status (name, definition, source_oid, target_oid, plan)
       values ('broken', '{}', 0, 0, '{"sourceKey": [{"name": "id", "type": "bigint"}]}')`,
    );
    const failed = await post('/api/v1/access-events', {
      migration: 'broken',
      events: [{ key: ['4711'], op: 'R' }],
    });
    expect(failed.json()).toMatchObject({ status: 500, code: 'UNEXPECTED' });
    expect(failed.body).not.toMatch(/sesame|insert|4711|\.ts/);
    await pool.query('drop function public.sesame() cascade');
    await pool.query("delete from foreshadow.migration_status where name = 'broken'");
    const id = failed.json().request_id;
    const told = lines.filter((line) => line.includes(id)).join('\n');
    expect(told).toContain('"code":"23514"');
    expect(told).toContain('"route":"/api/v1/access-events"');
    expect(told).not.toMatch(/insert into|4711|sesame/);
  });

  test('and log lines of all that was asked in this file hold no secret and no body', () => {
    const all = lines.join('');
    expect(lines.length).toBeGreaterThan(30);
    for (const secret of Object.values(secrets)) expect(all).not.toContain(secret);
    expect(all).not.toMatch(/drop table|passwd|4711/);
  });
});

describe('on loopback without tokens', () => {
  let open: Rig;
  beforeAll(async () => {
    open = await httpRig({ tokens: false, setup: tables });
  });
  const ask = (headers: Record<string, string>, method: 'GET' | 'POST' = 'GET') =>
    method === 'GET'
      ? open.ask({ method, url: '/api/v1/migrations', headers })
      : open.ask({ method, url: '/api/v1/migrations', headers, payload: file });

  test.each([
    'localhost',
    'localhost:7474',
    '127.0.0.1:7474',
    '127.9.9.9',
    '[::1]:7474',
    'LOCALHOST',
  ])('this machine may ask: %s', async (host) => {
    expect((await ask({ host })).statusCode).toBe(200);
    expect((await ask({ host, origin: `http://${host}` })).statusCode).toBe(200);
  });

  test.each([
    'evil.example',
    'evil.example:7474',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '127.evil.example',
    'localhost@evil.example',
    '10.0.0.1',
    '[::ffff:10.0.0.1]',
    '0.0.0.0',
  ])('a page that had its name point here may not: %s', async (host) => {
    for (const url of ['/api/v1/migrations', '/metrics', '/openapi.json', '/health/live', '/docs'])
      expect((await open.ask({ method: 'GET', url, headers: { host } })).json(), url).toMatchObject({
        status: 403,
        code: 'HOST_REFUSED',
      });
  });

  test('nor anybody who names no host', async () => {
    const { port } = await open.listen();
    for (const head of ['HTTP/1.1\r\nHost:\r\nConnection: close', 'HTTP/1.0']) {
      const { socket, answer } = rawSocket(port);
      socket.write(`GET /api/v1/migrations ${head}\r\n\r\n`);
      expect((await answer).split('\r\n', 1)[0]).toContain(' 403 ');
    }
  });

  test.each([
    'http://evil.example',
    'null',
    'http://localhost:3000',
    'https://localhost:7474',
    'http://127.0.0.1:7474',
  ])('a page of another origin may not: %s', async (origin) => {
    const refused = await ask({ host: 'localhost:7474', origin }, 'POST');
    expect(refused.json()).toMatchObject({ status: 403, code: 'ORIGIN_REFUSED' });
    expect((await open.db.pool.query('select 1 from foreshadow.migration_status')).rowCount).toBe(0);
  });

  test('who asks is called local, and may do everything', async () => {
    const created = await open.ask({
      method: 'POST',
      url: '/api/v1/migrations',
      payload: { ...file, map: { n: 's.n' } },
    });
    expect(created.statusCode).toBe(202);
    const { rows } = await open.db.pool.query(
      'select actor, role, action, migration, status, remote from foreshadow.audit',
    );
    expect(rows).toEqual([
      {
        actor: 'local',
        role: 'admin',
        action: 'POST /api/v1/migrations',
        migration: 'm',
        status: 202,
        remote: '127.0.0.1',
      },
    ]);
  });
});
