import { get } from 'node:http';
import { text } from 'node:stream/consumers';
import { beforeAll, describe, expect, test } from 'vitest';
import { catalogueOf, rowsOnDisk } from '../support/catalogue.ts';
import { file, httpRig, nothingChanges, type Rig, secrets, tables, type Who } from './http-rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await httpRig({ setup: `${tables} create table "o'dd; drop" (id int primary key);` });
});

/** Without any of a client's politeness about paths and headers. */
function request(port: number, path: string, headers: Record<string, string>) {
  return new Promise<{ status: number; body: string }>((resolve, reject) => {
    get({ host: '127.0.0.1', port, path, headers }, async (answer) => {
      resolve({ status: answer.statusCode ?? 0, body: await text(answer) });
    }).on('error', reject);
  });
}

const post = (url: string, payload: unknown, as: Who | null = 'admin', headers = {}) =>
  rig.ask({ method: 'POST', url, payload: payload as object, as, headers });

const bad = [
  "x'; drop table s; --",
  'x"; drop table s; --',
  '(select 1)',
  's; select pg_sleep(9)',
  'x/* */',
  'x -- y',
  '$1',
  '\\',
  '',
  ' ',
  '\u0000',
  'x'.repeat(5_000),
  '../../etc/passwd',
  '%s',
  '"',
  '.',
];

describe('a migration file as a weapon', () => {
  const refusedFile = async (more: object) => {
    const refused = await post('/api/v1/migrations', { ...file, ...more });
    const { status, code } = refused.json();
    await rig.db.pool.query('delete from foreshadow.migration_status');
    expect([400, 422], `${JSON.stringify(more).slice(0, 200)}: ${code}`).toContain(status);
    expect(code).not.toBe('UNEXPECTED');
  };

  const places: [string, (text: string) => object][] = [
    ['name', (text) => ({ name: text })],
    ['source', (text) => ({ source: text })],
    ['source, qualified', (text) => ({ source: `public.${text}` })],
    ['target', (text) => ({ target: `public.${text}` })],
    ['key', (text) => ({ key: [text] })],
    ['key, second', (text) => ({ key: ['id', text] })],
    ['map, a column', (text) => ({ map: { [text]: '1' } })],
    ['back, a column', (text) => ({ back: { [text]: '1' } })],
  ];
  test.each(places)('in %s', async (_place, build) => {
    await nothingChanges(rig, async () => {
      for (const text of bad) await refusedFile(build(text));
    });
  });

  /** Would end the expression and begin something else. */
  const outbreaks = [
    '1; drop table s',
    '1) from s; drop table s; --',
    '1 union select 2',
    '1, 2',
    "1 as x, 'y'",
    'n over ()',
    '*',
    'ctid',
    '$1',
    "'",
    '/*',
    '--',
    ')',
    '(1',
    '\u0000',
  ];
  /** Are expressions, and do or see what is not of the row. */
  const reaches = [
    '(select n from t limit 1)',
    'exists (select 1 from pg_authid)',
    '(select count(*) > 0 from pg_shadow)',
    'pg_sleep(10) is null',
    "pg_read_file('/etc/passwd') is null",
    "lo_import('/etc/passwd') > 0",
    "set_config('search_path', 'x', false) is null",
    "query_to_xml('delete from s', true, true, '') is null",
    "nextval('x') > 0",
    'random() < 2',
    'count(*) > 0',
  ];
  const kinds: [string, (sql: string) => object][] = [
    ['map', (sql) => ({ map: { n: sql } })],
    ['back', (sql) => ({ back: { n: sql } })],
    ['invariants', (sql) => ({ invariants: [{ name: 'i', sql }] })],
  ];
  test.each(kinds)('breaking out of an expression of %s', async (_kind, build) => {
    await nothingChanges(rig, async () => {
      for (const sql of outbreaks) await refusedFile(build(sql));
    });
  });
  for (const [kind, build] of kinds) {
    test(`reaching out of an expression of ${kind}`, async () => {
      await nothingChanges(rig, async () => {
        for (const sql of reaches) await refusedFile(build(sql));
      });
    });
  }

  test('in fields that have no effect before the work begins', async () => {
    const more = [
      { confidence: { fields: { "n'; drop table s; --": 1 } } },
      { predict: { group: '"; drop table s; --' } },
      { signals: { createdAt: 'now(); drop table s; --' } },
      { copy: { lanes: '2; drop table s' } },
      { shadow: { seed: '1; drop table s' } },
      { cutover: { finish: 'drop' } },
      { queryLog: { path: '/nowhere/../../etc/*' } },
    ];
    const before = [await rowsOnDisk(rig.db.pool, 'public.s'), await catalogueOf(rig.db.pool, 'foreshadow')];
    for (const [i, each] of more.entries()) {
      const answer = await post('/api/v1/migrations', { ...file, ...each, name: `weapon-${i}` });
      expect(answer.statusCode, JSON.stringify(each)).toBeLessThan(500);
    }
    expect([await rowsOnDisk(rig.db.pool, 'public.s'), await catalogueOf(rig.db.pool, 'foreshadow')]).toEqual(
      before,
    );
    await rig.db.pool.query('delete from foreshadow.migration_status');
  });
});

describe('bodies', () => {
  const raw = (payload: string | Buffer, type = 'application/json', url = '/api/v1/migrations') =>
    rig.ask({ method: 'POST', url, payload, headers: { 'content-type': type } });

  test.each<[string, string | Buffer]>([
    ['cut off', '{"name":'],
    ['nothing', ''],
    ['not JSON', 'name=m'],
    ['two documents', '{}{}'],
    ['not UTF-8', Buffer.from('{"name":"\xff\xfe"}', 'latin1')],
    ['a prototype', '{"__proto__":{"role":"admin"}}'],
    ['a constructor', '{"constructor":{"prototype":{"role":"admin"}}}'],
    ['a NUL', '{"name":"m","source":"public.s\\u0000"}'],
    ['half a surrogate pair', '{"name":"m","source":"public.\\ud800"}'],
    ['a NUL in a name', '{"map":{"n\\u0000":"1"}}'],
    ['deep arrays', '['.repeat(100_000) + ']'.repeat(100_000)],
    ['deep objects', '{"map":'.repeat(50_000) + '1' + '}'.repeat(50_000)],
  ])('%s: 400', async (_what, payload) => {
    await nothingChanges(rig, async () => {
      expect((await raw(payload)).json()).toMatchObject({ status: 400, code: 'MALFORMED_JSON' });
    });
  });

  test('of another type: 415', async () => {
    const text = JSON.stringify(file);
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/xml',
      'x',
    ])
      expect((await raw(text, type)).json(), type).toMatchObject({ status: 415, code: 'MEDIA_TYPE' });
    expect((await raw('{}', 'text/plain', '/api/v1/scores')).json()).toMatchObject({ status: 415 });
  });

  test.each<[string, unknown, string]>([
    ['/api/v1/migrations', { ...file, extra: 1 }, 'BAD_MIGRATION_FILE'],
    ['/api/v1/migrations', { ...file, shadow: { extra: 1 } }, 'BAD_MIGRATION_FILE'],
    ['/api/v1/migrations', [], 'BAD_MIGRATION_FILE'],
    ['/api/v1/migrations/m/cutover', { what: 'reads', force: true }, 'BAD_REQUEST'],
    ['/api/v1/migrations/m/cutover', { what: ['reads'] }, 'BAD_REQUEST'],
    ['/api/v1/migrations/m/cutover', {}, 'BAD_REQUEST'],
    ['/api/v1/migrations/m/cutover', [], 'BAD_REQUEST'],
    ['/api/v1/migrations/m/pause', { name: 'other' }, 'BAD_REQUEST'],
    ['/api/v1/jobs', { kind: 'mine', migration: 'm', id: 1 }, 'BAD_REQUEST'],
    ['/api/v1/jobs', { kind: 'mine', migration: 5 }, 'BAD_REQUEST'],
    ['/api/v1/access-events', { migration: 'm', events: [{ key: ['1'], op: 'R', x: 1 }] }, 'BAD_REQUEST'],
    ['/api/v1/access-events', { migration: 'm', events: [{ key: ['1'], op: 'R', at: '5' }] }, 'BAD_REQUEST'],
  ])('%s with %j: %s, nothing is converted or dropped', async (url, body, code) => {
    await nothingChanges(rig, async () => {
      expect((await post(url, body)).json()).toMatchObject({ status: 400, code });
    });
  });

  test('more events than allowed', async () => {
    const events = Array.from({ length: 10_001 }, () => ({ key: ['1'], op: 'R' }));
    expect((await post('/api/v1/access-events', { migration: 'm', events })).json()).toMatchObject({
      status: 400,
      code: 'BAD_REQUEST',
    });
  });

  test('faults are told by pointer, without values', async () => {
    const { errors } = (
      await post('/api/v1/jobs', { kind: 'sesame', migration: 'SESAME', more: 'sesame' })
    ).json();
    expect(errors.map((each: { pointer: string }) => each.pointer)).toEqual(
      expect.arrayContaining(['', '/kind', '/migration']),
    );
    expect(JSON.stringify(errors)).not.toMatch(/sesame/i);
  });
});

describe('paths', () => {
  let port: number;
  beforeAll(async () => {
    ({ port } = await rig.listen());
  });

  test.each([
    '/api/v1/models/..',
    '/api/v1/models/%2e%2e',
    '/api/v1/models/..%2f..%2fetc',
    '/api/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd',
    '/api/v1/models/shop%00',
    '/api/v1/models/.draft-x',
    '/api/v1/models/shop/versions/..',
    '/api/v1/models/shop/versions/%2e%2e%2f0001',
    '/api/v1/models/shop/versions/0001%2f..%2f0001',
    '/api/v1/models/shop/versions/1',
    '/api/v1/models/shop/versions/0001/manifest.json',
    '/api/v1/models/C:%5Cwindows',
    "/api/v1/migrations/m'--",
    '/api/v1/migrations/m%00',
    '/api/v1/migrations/%22m%22',
    '/api/v1/jobs/..%2fm',
    '//etc/passwd',
    '/etc/passwd',
  ])('%s leads nowhere', async (path) => {
    // by a socket: a URL would be made tidy on its way
    const { status, body } = await request(port, path, { authorization: `Bearer ${secrets.admin}` });
    expect([400, 404]).toContain(status);
    expect(JSON.parse(body)).toMatchObject({ status, code: expect.not.stringMatching(/UNEXPECTED/) });
    expect(body).not.toMatch(/root:|ENOENT|node_modules/);
  });

  test('another method is 405 and says which are right, an unknown path 404', async () => {
    const wrong = await rig.ask({ method: 'DELETE', url: '/api/v1/migrations/m' });
    expect(wrong.json()).toMatchObject({ status: 405, code: 'METHOD_NOT_ALLOWED' });
    expect(wrong.headers.allow).toBe('GET, HEAD');
    expect((await rig.ask({ method: 'PUT', url: '/api/v1/jobs' })).headers.allow).toBe('GET, HEAD, POST');
    expect((await rig.ask({ method: 'OPTIONS', url: '/api/v1/scores' })).statusCode).toBe(405);
    expect((await rig.ask({ method: 'GET', url: '/api/v2/migrations' })).json()).toMatchObject({
      status: 404,
      code: 'ROUTE_UNKNOWN',
    });
  });
});
