import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { httpRig, type Rig, rawSocket, secrets } from './http-rig.ts';

const body = '{"what":"reads"}';
const head = (more: string) =>
  `POST /api/v1/migrations/m/cutover HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${secrets.admin}\r\n` +
  `Content-Type: application/json\r\n${more}`;

describe('clients on a socket', () => {
  let rig: Rig;
  let port: number;
  beforeAll(async () => {
    rig = await httpRig({
      limits: {
        headersTimeout: 300,
        requestTimeout: 600,
        headerBytes: 4_000,
        connections: 20,
        body: 2_000,
        scoresBody: 5_000,
        accessEventsBody: 3_000,
      },
    });
    ({ port } = await rig.listen());
  });
  const statusLine = async (answer: Promise<string>) => (await answer).split('\r\n', 1)[0];

  test('a head that never ends is cut with 408', async () => {
    const { socket, answer } = rawSocket(port);
    socket.write('GET /health/live HTTP/1.1\r\nHost: x\r\n');
    const drip = setInterval(() => socket.write('X-Slow: 1\r\n'), 50);
    const text = await answer;
    clearInterval(drip);
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(text).toContain('application/problem+json');
    expect(JSON.parse(text.split('\r\n\r\n')[1] as string)).toMatchObject({ code: 'TIMEOUT', status: 408 });
  });

  test('a body that comes byte by byte is cut with 408, and nothing was done', async () => {
    const { socket, answer } = rawSocket(port);
    socket.write(head(`Content-Length: ${body.length}\r\n\r\n`));
    let at = 0;
    const drip = setInterval(() => socket.write(body[at++ % 8] as string), 100);
    const text = await answer;
    clearInterval(drip);
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect((await rig.db.pool.query('select 1 from foreshadow.audit where status < 400')).rowCount).toBe(0);
  });

  test('a flood of headers is cut with 431', async () => {
    const { socket, answer } = rawSocket(port);
    socket.write(`GET /health/live HTTP/1.1\r\nHost: x\r\n`);
    for (let i = 0; i < 60; i++) socket.write(`X-${i}: ${'y'.repeat(100)}\r\n`);
    expect(await statusLine(answer)).toMatch(/^HTTP\/1\.1 431 /);
  });

  test('one long header is cut with 431', async () => {
    const { socket, answer } = rawSocket(port);
    socket.write(`GET /health/live HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(5_000)}\r\n\r\n`);
    expect(await statusLine(answer)).toMatch(/^HTTP\/1\.1 431 /);
  });

  test('what is not HTTP is told so', async () => {
    const { socket, answer } = rawSocket(port);
    socket.write('\x16\x03\x01 hello\r\n\r\n');
    const text = await answer;
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(JSON.parse(text.split('\r\n\r\n')[1] as string)).toMatchObject({ code: 'BAD_REQUEST' });
  });

  test('a length that lies, and one in chunks, are cut at the limit with 413', async () => {
    const lying = rawSocket(port);
    lying.socket.write(head('Content-Length: 99999999\r\n\r\n'));
    expect(await statusLine(lying.answer)).toMatch(/^HTTP\/1\.1 413 /);
    const chunked = rawSocket(port);
    chunked.socket.write(head('Transfer-Encoding: chunked\r\n\r\n'));
    const chunk = 'a'.repeat(500);
    const drip = setInterval(() => chunked.socket.write(`1f4\r\n${chunk}\r\n`), 5);
    expect(await statusLine(chunked.answer)).toMatch(/^HTTP\/1\.1 413 /);
    clearInterval(drip);
  });

  test('two lengths at once are refused: no request is smuggled', async () => {
    const { socket, answer } = rawSocket(port);
    socket.write(
      head(`Content-Length: ${body.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${body}`),
    );
    expect(await statusLine(answer)).toMatch(/^HTTP\/1\.1 400 /);
  });

  test('more connections than allowed are closed, and the others go on', async () => {
    const many = Array.from({ length: 30 }, () => rawSocket(port));
    await sleep(100);
    const closed = await Promise.all(
      many.map(({ answer }) => Promise.race([answer.then(() => true), sleep(50).then(() => false)])),
    );
    expect(closed.filter(Boolean).length).toBeGreaterThanOrEqual(10);
    for (const { socket } of many) socket.destroy();
    await sleep(50);
    expect((await fetch(`http://127.0.0.1:${port}/health/live`)).status).toBe(200);
  });

  test('each route has its own limit of bytes', async () => {
    const post = (url: string, bytes: number) =>
      rig.ask({
        method: 'POST',
        url,
        headers: { 'content-type': 'application/json' },
        payload: JSON.stringify({ x: 'y'.repeat(bytes) }),
      });
    for (const [url, limit] of [
      ['/api/v1/migrations', 2_000],
      ['/api/v1/jobs', 2_000],
      ['/api/v1/access-events', 3_000],
    ] as const) {
      expect((await post(url, limit)).json(), url).toMatchObject({ status: 413, code: 'TOO_LARGE' });
      expect((await post(url, limit - 100)).statusCode, url).toBe(400);
    }
    expect((await post('/api/v1/scores', 5_000)).json()).toMatchObject({ status: 413, code: 'TOO_LARGE' });
  });

  test('a long parameter is 414, a broken escape 400', async () => {
    expect(
      (await rig.ask({ method: 'GET', url: `/api/v1/migrations/${'x'.repeat(200)}` })).json(),
    ).toMatchObject({
      status: 414,
      code: 'URI_TOO_LONG',
    });
    expect((await rig.ask({ method: 'GET', url: '/api/v1/migrations/%E0%A4%A' })).statusCode).toBe(400);
  });
});

describe('rates', () => {
  test('are for each token, with Retry-After; probes and others go on', async () => {
    const rig = await httpRig({ rateLimit: 5 });
    const list = (as: 'reader' | 'admin') => rig.ask({ method: 'GET', url: '/api/v1/models', as });
    for (let i = 0; i < 5; i++) expect((await list('reader')).statusCode).toBe(200);
    const refused = await list('reader');
    expect(refused.json()).toMatchObject({ status: 429, code: 'RATE_LIMITED' });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect((await list('admin')).statusCode).toBe(200);
    // what was not looked at is not written down, and unknown routes count as well
    const post = await rig.ask({ method: 'POST', url: '/api/v1/migrations/m/pause', as: 'reader' });
    expect(post.statusCode).toBe(429);
    expect((await rig.ask({ method: 'GET', url: '/api/v1/nothing', as: 'reader' })).statusCode).toBe(429);
    expect((await rig.db.pool.query('select 1 from foreshadow.audit')).rowCount).toBe(0);
  });

  test('failed attempts from one address have to wait, whatever is tried then', async () => {
    const rig = await httpRig();
    const attempt = (secret: string) =>
      rig.ask({
        method: 'GET',
        url: '/api/v1/models',
        as: null,
        headers: { authorization: `Bearer ${secret}` },
      });
    for (let i = 0; i < 20; i++) expect((await attempt(`guess-${i}`)).statusCode).toBe(401);
    for (const secret of ['guess-20', secrets.admin]) {
      const refused = await attempt(secret);
      expect(refused.json()).toMatchObject({ status: 429, code: 'RATE_LIMITED' });
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    }
    // anybody else is not concerned
    const other = await rig.ask({ method: 'GET', url: '/api/v1/models', remoteAddress: '10.0.0.9' });
    expect(other.statusCode).toBe(200);
    expect((await rig.ask({ method: 'GET', url: '/health/live', as: null })).statusCode).toBe(200);
  });
});

test('while the event loop is late, work is turned away with Retry-After, probes are not', async () => {
  const rig = await httpRig({ limits: { eventLoopDelay: 50 } });
  const busyUntil = performance.now() + 1_500;
  while (performance.now() < busyUntil) {
    const until = performance.now() + 200;
    while (performance.now() < until);
    await sleep(1);
  }
  const refused = await rig.ask({ method: 'GET', url: '/api/v1/models' });
  expect(refused.json()).toMatchObject({ status: 503, code: 'OVERLOADED' });
  expect(refused.headers['retry-after']).toBe('2');
  expect((await rig.ask({ method: 'GET', url: '/health/live', as: null })).statusCode).toBe(200);
});
