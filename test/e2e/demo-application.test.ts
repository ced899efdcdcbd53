import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { Application } from '../../src/demo/application.ts';
import { type OperationRecord, parseRecord } from '../../src/demo/record.ts';
import { buildShop } from '../../src/demo/schema.ts';
import { afterFile, type TestDatabase, testDatabase } from '../support/database.ts';

describe('the demo’s application', () => {
  let database: TestDatabase;
  let folder: string;

  beforeAll(async () => {
    database = await testDatabase();
    const client = await database.client();
    await buildShop(client, 2_000);
    await client.end();
    folder = await mkdtemp(join(tmpdir(), 'foreshadow-demo-test-'));
    afterFile(() => rm(folder, { recursive: true }));
  });

  async function start(
    name: string,
  ): Promise<{ application: Application; records: () => Promise<OperationRecord[]> }> {
    const record = join(folder, name);
    const application = await Application.start({
      url: database.url,
      migration: 'none',
      record,
      seed: 3,
      rate: 200,
      day: 30,
    });
    const records = async () => (await readFile(record, 'utf8')).trimEnd().split('\n').map(parseRecord);
    return { application, records };
  }

  test('keeps its rate, and its books agree with the table', async () => {
    const { application, records } = await start('calm');
    await sleep(3_000);
    const summary = await application.stop();
    expect(summary).toMatchObject({ errors: 0, retries: 0, stale: 0, waiting: 0 });
    expect(summary.audit).toMatchObject({ missing: 0, extra: 0, different: 0, doubtful: 0 });
    expect(summary.audit.compared).toBeGreaterThan(1_900);
    expect(summary.compared).toBeGreaterThan(500);
    const all = await records();
    expect(all.length).toBe(summary.reads + summary.writes);
    expect(all.length / summary.seconds).toBeGreaterThan(150);
    expect(new Set(all.map((each) => each.kind))).toEqual(new Set(['read', 'insert', 'update', 'delete']));
  });

  test('goes on after its connections are lost; only what was under way is in doubt', async () => {
    const { application } = await start('rough');
    for (let i = 0; i < 5; i++) {
      await sleep(400);
      await database.pool.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'demo shop %'",
      );
    }
    await sleep(400);
    const summary = await application.stop();
    expect(summary.audit).toMatchObject({ missing: 0, extra: 0, different: 0 });
    expect(summary.stale).toBe(0);
    expect(summary.reads + summary.writes).toBeGreaterThan(200);
    for (const text of Object.keys(summary.errorTexts))
      expect(text).toMatch(/57P01|terminat|connection|ECONNRESET|not queryable/i);
  });

  test('finds out when somebody else changes a row behind its back', async () => {
    const { application } = await start('meddled');
    await sleep(300);
    await database.pool.query(
      "update public.orders set amount_cents = amount_cents + 1 where status = 'sent'",
    );
    await sleep(1_000);
    const summary = await application.stop();
    expect(summary.stale).toBeGreaterThan(0);
    expect(summary.audit.different).toBeGreaterThan(0);
  });
});
