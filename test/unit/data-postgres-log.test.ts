import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { beforeAll, expect, test } from 'vitest';
import { createAccessMiner, createAccessResolver, mineAccesses } from '../../src/access/index.ts';
import { newLogCounters, readLog } from '../../src/logs/index.ts';

const sample = new URL('../../data/samples/postgres-log.json.gz', import.meta.url);
let text: string;

beforeAll(async () => {
  text = gunzipSync(await readFile(sample)).toString();
});

test('the sample names no machine and no folder', () => {
  expect(text).not.toMatch(/\/(?:home|root|tmp|var|usr|work)\//);
  const hosts = new Set(
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line).remote_host),
  );
  expect([...hosts].filter(Boolean)).toEqual(['127.0.0.1']);
});

test('our reader reads every line, and finds who was read and changed', async () => {
  const counters = newLogCounters();
  const key = [{ name: 'aid', type: 'integer' }];
  const resolver = await createAccessResolver({ schema: 'public', table: 'accounts', key });
  const miner = createAccessMiner(resolver);
  const accesses = [];
  for await (const batch of mineAccesses(miner, readLog(fileURLToPath(sample), { counters }))) {
    accesses.push(...batch);
  }
  expect(counters).toMatchObject({ malformed: 0, zoneGuessed: 0 });
  expect(counters.failed).toBeGreaterThan(0);
  const { resolved, unresolved } = miner.statistics();
  expect(resolved).toBeGreaterThan(1_500);
  expect(unresolved).toBeGreaterThan(20);
  expect(accesses.filter(({ op }) => op === 'W').length).toBeGreaterThan(200);
});
