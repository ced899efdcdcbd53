import { randomUUID } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { file, httpRig, type Rig, tables, type Who } from './http-rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await httpRig({ setup: tables });
});

interface Post {
  readonly url?: string;
  /** null: none */
  readonly payload?: object | null;
  readonly key?: string;
  readonly as?: Who;
}
const post = ({ url = '/api/v1/migrations', payload = file, key, as = 'admin' }: Post = {}) =>
  rig.ask({
    method: 'POST',
    url,
    as,
    ...(payload ? { payload } : {}),
    headers: key === undefined ? {} : { 'idempotency-key': key },
  });
const events = { migration: 'm', events: [{ key: ['1'], op: 'R', at: 1000 }] };
const query = async (sql: string) => (await rig.db.pool.query(sql)).rows;
const batches = async () => Number((await query('select count(*) from foreshadow.access_batch'))[0].count);

beforeEach(async () => {
  await rig.db.pool.query(
    'delete from foreshadow.migration_status; delete from foreshadow.idempotency; delete from foreshadow.audit',
  );
});

describe('a request with an Idempotency-Key', () => {
  test('is done once, and answered the same again', async () => {
    await post();
    const [first, second] = [
      await post({ url: '/api/v1/access-events', payload: events, key: 'k' }),
      await post({ url: '/api/v1/access-events', payload: events, key: 'k' }),
    ];
    expect([first.statusCode, second.statusCode]).toEqual([202, 202]);
    expect(second.body).toBe(first.body);
    expect(first.headers['idempotency-replayed']).toBeUndefined();
    expect(second.headers['idempotency-replayed']).toBe('true');
    expect(await batches()).toBe(1);
    await post({ url: '/api/v1/access-events', payload: events, key: 'other' });
    await post({ url: '/api/v1/access-events', payload: events });
    expect(await batches()).toBe(3);
  });

  test('is answered with its headers, also when the state has moved on', async () => {
    const first = await post({ key: 'create' });
    await rig.db.pool.query("update foreshadow.migration_status set status = 'ABORTED'");
    const second = await post({ key: 'create' });
    expect(second.json()).toEqual(first.json());
    expect(second.headers.location).toBe('/api/v1/migrations/m');
    expect(second.headers['content-type']).toBe(first.headers['content-type']);
  });

  test('is answered with its refusal', async () => {
    const order = { url: '/api/v1/migrations/m/cutover', payload: { what: 'reads' }, key: 'refused' };
    await post();
    const first = await post(order);
    expect(first.json()).toMatchObject({ status: 409, code: 'GATE_SHUT' });
    await rig.db.pool.query("update foreshadow.migration_status set status = 'READY'");
    const second = await post(order);
    expect([second.json(), second.headers['idempotency-replayed']]).toEqual([first.json(), 'true']);
    expect(second.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect((await post({ ...order, key: 'new' })).statusCode).toBe(202);
  });

  test('is not another request: 422', async () => {
    await post({ key: 'k' });
    for (const other of [
      { payload: { ...file, name: 'n' } },
      { url: '/api/v1/migrations/m/pause', payload: null },
      { url: '/api/v1/migrations?x=1' },
    ])
      expect((await post({ ...other, key: 'k' })).json()).toMatchObject({ status: 422, code: 'KEY_REUSED' });
    expect(await query('select name, status from foreshadow.migration_status')).toEqual([
      { name: 'm', status: 'PLANNED' },
    ]);
  });

  test("is its actor's own", async () => {
    await post({ key: 'k' });
    const other = await post({
      key: 'k',
      as: 'operator',
      payload: { ...file, name: 'n', source: 'public.none' },
    });
    expect(other.json()).toMatchObject({ status: 422, code: 'SOURCE_MISSING' });
  });

  test('that is still at work is not done twice at once', async () => {
    await post();
    const lock = await rig.db.client();
    await lock.query('begin; lock table foreshadow.access_batch in exclusive mode');
    const slow = post({ url: '/api/v1/access-events', payload: events, key: 'k' });
    await expect.poll(() => query('select 1 from foreshadow.idempotency')).toHaveLength(1);
    const refused = await post({ url: '/api/v1/access-events', payload: events, key: 'k' });
    expect(refused.json()).toMatchObject({ status: 409, code: 'AT_WORK' });
    expect(refused.headers['retry-after']).toBe('1');
    await lock.query('rollback');
    expect((await slow).statusCode).toBe(202);
    expect((await post({ url: '/api/v1/access-events', payload: events, key: 'k' })).headers).toMatchObject({
      'idempotency-replayed': 'true',
    });
    expect(await batches()).toBe(1);
  });

  test('at the same time from many is done once', async () => {
    await post();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => post({ url: '/api/v1/access-events', payload: events, key: 'k' })),
    );
    expect(await batches()).toBe(1);
    expect(
      answers.filter(({ statusCode, headers }) => statusCode === 202 && !headers['idempotency-replayed']),
    ).toHaveLength(1);
    for (const { statusCode } of answers) expect([202, 409]).toContain(statusCode);
  });

  test('whose process died is done by the next after a minute', async () => {
    await post();
    const retry = () => post({ url: '/api/v1/access-events', payload: events, key: 'k' });
    await retry();
    await rig.db.pool.query('update foreshadow.idempotency set status = null, body = null, headers = null');
    expect((await retry()).statusCode).toBe(409);
    await rig.db.pool.query("update foreshadow.idempotency set at = at - interval '61 seconds'");
    expect((await retry()).headers['idempotency-replayed']).toBeUndefined();
    expect(await batches()).toBe(2);
  });

  test('that failed for a reason of ours may be tried again', async () => {
    await post();
    const retry = () => post({ url: '/api/v1/access-events', payload: events, key: 'k' });
    await rig.db.pool.query(
      'alter table foreshadow.access_batch add constraint no check (seq < 0) not valid',
    );
    const failed = await retry();
    expect(failed.json()).toMatchObject({ status: 500, code: 'UNEXPECTED' });
    await rig.db.pool.query('alter table foreshadow.access_batch drop constraint no');
    expect((await retry()).statusCode).toBe(202);
    expect(await batches()).toBe(1);
  });

  test('is forgotten after a day', async () => {
    await post({ key: 'k' });
    await rig.db.pool.query("update foreshadow.idempotency set at = at - interval '25 hours'");
    const again = await post({ key: 'k', payload: { ...file, copy: { lanes: 3 } } });
    expect(again.headers['idempotency-replayed']).toBeUndefined();
    expect(again.json()).toMatchObject({ code: 'CONFLICT' });
  });

  test('of a form that is none is refused, and takes no key', async () => {
    for (const key of ['', 'a b', 'x'.repeat(256), '\u00e4'])
      expect((await post({ key })).json(), key).toMatchObject({ status: 400, code: 'BAD_REQUEST' });
    // neither does one that is refused before it is acted upon
    await post({ key: 'k', as: 'reader' });
    await post({ key: 'k', url: '/api/v1/jobs', payload: {} });
    expect(await query('select 1 from foreshadow.idempotency')).toEqual([]);
  });
});

test('each action leaves one row in the audit, whatever came of it', async () => {
  const id = randomUUID();
  await rig.ask({
    method: 'POST',
    url: '/api/v1/migrations',
    payload: file,
    headers: { 'x-request-id': id },
  });
  await post({ key: 'k' });
  await post({ key: 'k' });
  await post({ url: '/api/v1/migrations/m/pause', as: 'reader', payload: null });
  await post({ url: '/api/v1/migrations/none/abort', as: 'operator', payload: null });
  await post({ url: '/api/v1/migrations/m/cutover', as: 'operator', payload: { what: 'reads' } });
  await post({ url: '/api/v1/migrations/m/cutover', as: 'operator', payload: { what: 'everything' } });
  await post({ url: '/api/v1/jobs', payload: { kind: 'mine', migration: "m'; --" } });
  await post({ url: '/api/v1/jobs', payload: { kind: 'evaluate', migration: 'm' } });
  // no action
  await post({ url: '/api/v1/access-events', payload: events });
  await post({ url: '/api/v1/scores', payload: { migration: 'm', keys: [] } });
  await rig.ask({ method: 'GET', url: '/api/v1/migrations' });
  await rig.ask({ method: 'POST', url: '/api/v1/migrations', payload: file, as: null });

  const rows = await query(
    'select actor, role, action, migration, status, request_id, remote from foreshadow.audit order by id',
  );
  expect(
    rows.map(({ actor, action, migration, status }) => `${actor} ${action} ${migration} ${status}`),
  ).toEqual([
    'admin POST /api/v1/migrations m 202',
    'admin POST /api/v1/migrations m 202',
    'admin POST /api/v1/migrations m 202',
    'reader POST /api/v1/migrations/:name/pause m 403',
    'operator POST /api/v1/migrations/:name/abort none 404',
    'operator POST /api/v1/migrations/:name/cutover m 409',
    'operator POST /api/v1/migrations/:name/cutover m 400',
    'admin POST /api/v1/jobs null 400',
    'admin POST /api/v1/jobs m 409',
  ]);
  expect(rows[0]).toMatchObject({ role: 'admin', request_id: id, remote: '127.0.0.1' });
});
