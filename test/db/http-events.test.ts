import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { recordEvent } from '../../src/migration/status.store.ts';
import { afterFile } from '../support/database.ts';
import { file, httpRig, type Rig, secrets, tables } from './http-rig.ts';

interface Told {
  readonly id: string | null;
  readonly event: string;
  readonly data: { kind?: string; detail?: { n?: number }; name?: string; wait_reason?: string };
}

let rig: Rig;
let url: string;
let id: number;
beforeAll(async () => {
  rig = await httpRig({ setup: tables, limits: { streams: 3 } });
  ({ url } = await rig.listen());
  await rig.ask({ method: 'POST', url: '/api/v1/migrations', payload: file });
  id = (await rig.db.pool.query('select id from foreshadow.migration_status')).rows[0].id;
});

const happen = (n: number) => recordEvent(rig.db.pool, id, 'warning', { n });

/** Events are told once no older transaction runs, in any database of the server: other tests hold them up. */
const soon = <T>(look: () => T) => expect.poll(look, { timeout: 20_000 });

/** A reader as a browser's EventSource is one. */
async function open(lastEventId?: string, query = '') {
  const controller = new AbortController();
  afterFile(async () => controller.abort());
  const answer = await fetch(`${url}/api/v1/migrations/m/events${query}`, {
    headers: {
      authorization: `Bearer ${secrets.reader}`,
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    },
    signal: controller.signal,
  });
  const told: Told[] = [];
  const state = { ended: false, raw: '' };
  const read = async () => {
    let rest = '';
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
      state.raw += Buffer.from(chunk).toString();
      rest += Buffer.from(chunk).toString();
      const blocks = rest.split('\n\n');
      rest = blocks.pop() ?? '';
      for (const block of blocks) {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1] ?? null;
        const data = field('data');
        if (data) told.push({ id: field('id'), event: field('event') ?? '', data: JSON.parse(data) });
      }
    }
  };
  const done = answer.ok
    ? read()
        .catch(() => {})
        .finally(() => (state.ended = true))
    : Promise.resolve();
  const numbers = () =>
    told.filter((each) => each.event === 'warning').map(({ data }) => data.detail?.n as number);
  const close = async () => {
    controller.abort();
    await done;
  };
  return { answer, told, state, numbers, close };
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe('a stream of events', () => {
  test('tells all from the first, and goes on after Last-Event-ID without loss or repeat', async () => {
    for (const n of range(0, 450)) await happen(n); // more than one page
    const first = await open();
    await soon(() => first.numbers().length).toBe(450);
    await first.close();
    expect(first.numbers()).toEqual(range(0, 450));
    const warnings = first.told.filter(({ event }) => event === 'warning');
    expect(new Set(warnings.map((each) => each.id)).size).toBe(450);

    for (const n of range(450, 460)) await happen(n);
    for (const seen of [0, 199, 200, 449]) {
      const again = await open(warnings[seen]?.id as string);
      await soon(() => again.numbers().at(-1)).toBe(459);
      await again.close();
      expect(again.numbers()).toEqual(range(seen + 1, 460));
    }
    const byQuery = await open(undefined, `?after=${warnings[449]?.id}`);
    await soon(() => byQuery.numbers()).toEqual(range(450, 460));
    await byQuery.close();
  });

  test('waits for a transaction that commits late, and then tells its event in order', async () => {
    const reader = await open();
    await soon(() => reader.numbers().at(-1)).toBe(459);
    const before = reader.numbers().length;
    const late = await rig.db.client();
    await late.query('begin');
    await recordEvent(late, id, 'warning', { n: 1000 });
    await happen(1001);
    await sleep(1500);
    expect(reader.numbers().length).toBe(before);
    await late.query('commit');
    await soon(() => reader.numbers().slice(before)).toEqual([1000, 1001]);
    await reader.close();
  });

  test('tells what the status document has become, without an id, at most once a second', async () => {
    const reader = await open();
    const snapshots = () => reader.told.filter(({ event }) => event === 'snapshot');
    await soon(() => snapshots().length).toBe(1);
    expect(snapshots()[0]).toMatchObject({ id: null, data: { name: 'm', status: 'PLANNED' } });
    await sleep(1200);
    expect(snapshots().length).toBe(1); // nothing has changed
    const until = performance.now() + 2500;
    for (let i = 0; performance.now() < until; i++) {
      await rig.db.pool.query('update foreshadow.migration_status set wait_reason = $1', [`step ${i}`]);
      await sleep(20);
    }
    expect(snapshots().length).toBeGreaterThanOrEqual(2);
    expect(snapshots().length).toBeLessThanOrEqual(5);
    await rig.db.pool.query("update foreshadow.migration_status set wait_reason = 'the last'");
    await soon(() => snapshots().at(-1)?.data.wait_reason).toBe('the last');
    await reader.close();
  });

  test('is bounded in number, and refuses what is no id', async () => {
    const readers = [await open(), await open(), await open()];
    const refused = await open();
    expect(refused.answer.status).toBe(503);
    expect(await refused.answer.json()).toMatchObject({ code: 'OVERLOADED' });
    expect(refused.answer.headers.get('retry-after')).toBe('5');
    for (const reader of readers) await reader.close();
    await soon(async () => (await rig.ask({ method: 'GET', url: '/metrics' })).body).toMatch(
      /^foreshadow_event_streams 0$/m,
    );
    for (const bad of ['1', "1-1' or true", '99999999999999999999999-1', '-1-1'])
      expect((await open(bad)).answer.status, bad).toBe(400);
    const again = await open();
    expect(again.answer.status).toBe(200);
    await again.close();
  });

  test('ends when the server is about to stop, which then waits for nobody', async () => {
    const reader = await open();
    await soon(() => reader.told.length).toBeGreaterThan(0);
    rig.draining.abort();
    await soon(() => reader.state.ended).toBe(true);
    expect((await open()).answer.status).toBe(503);
    const began = performance.now();
    await rig.app.close();
    expect(performance.now() - began).toBeLessThan(2000);
  });
});
