import { mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { run } from '../../src/cli/program.ts';
import { saveModel } from '../../src/model/registry.ts';
import { trainModel } from '../../src/model/train.ts';
import { movingHotSet } from './model.synthetic.ts';

let root: string;
let out = '';
let err = '';
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'foreshadow-cli-models-'));
  const accesses = movingHotSet({ seconds: 30 });
  const { predictor } = await trainModel({ accesses, now: 30, horizonSeconds: 15, budget: 0.1, seed: 1 });
  for (const name of ['orders', 'orders', 'orders', 'broken']) await saveModel(root, name, predictor);
  await truncate(join(root, 'broken', '0001', 'manifest.json'), 10);
  predictor.dispose();
}, 60_000);
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(() => {
  out = err = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text;
    return true;
  });
  vi.stubEnv('FORESHADOW_MODELS', root);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});
const models = (...args: string[]) => run(['node', 'foreshadow', 'models', ...args]);
async function json(...args: string[]): Promise<Record<string, unknown>> {
  out = '';
  expect(await models(...args, '--json')).toEqual({ exitCode: 0 });
  return JSON.parse(out);
}

describe('foreshadow models', () => {
  test('promote pins, rollback goes back, list and show say so: as text and as JSON', async () => {
    expect(await models('promote', 'orders', '0001')).toEqual({ exitCode: 0 });
    expect(out).toBe('orders/0001 is stable now\n');
    expect(await json('promote', 'orders', '0003')).toEqual({
      schema: 1,
      name: 'orders',
      labels: { stable: '0003' },
    });
    expect(await json('promote', 'orders', '0002', '--label', 'canary')).toMatchObject({
      labels: { stable: '0003', canary: '0002' },
    });
    expect(await json('rollback', 'orders')).toEqual({
      schema: 1,
      name: 'orders',
      from: '0003',
      to: '0001',
      labels: { stable: '0001', canary: '0002' },
    });
    const list = await json('list');
    expect(list.models).toEqual([
      expect.objectContaining({ name: 'broken', in_use: null, problem: expect.stringMatching(/not JSON/) }),
      {
        name: 'orders',
        versions: ['0001', '0002', '0003'],
        labels: { stable: '0001', canary: '0002' },
        in_use: '0001',
        predictor: 'ewma',
        created_at: expect.stringMatching(/^\d{4}-/),
        problem: null,
      },
    ]);
    out = '';
    await models('list');
    expect(out).toMatch(/^orders +3 +0003 +0001 +0002 +0001 +ewma, trained /m);
    expect(out).toMatch(/^broken .*not JSON$/m);
    expect(await json('show', 'orders')).toMatchObject({ name: 'orders', version: '0001' });
    expect(await json('show', 'orders/canary')).toMatchObject({ version: '0002', manifest: { seed: 1 } });
    out = '';
    await models('show', 'orders/0003');
    expect(out).toMatch(/^# Model orders\/0003\n/);
    expect(await json('unlabel', 'orders')).toMatchObject({ labels: { canary: '0002' } });
    expect(await json('show', 'orders')).toMatchObject({ version: '0003' });
    expect(err).toBe('');
  });

  test('an empty registry is no error', async () => {
    vi.stubEnv('FORESHADOW_MODELS', join(root, 'nowhere'));
    expect(await json('list')).toEqual({ schema: 1, models: [] });
    out = '';
    expect(await models('list')).toEqual({ exitCode: 0 });
    expect(out).toMatch(/no models in /);
  });

  const bad: [args: string[], exitCode: number, says: RegExp][] = [
    [[], 2, /Usage: foreshadow models/],
    [['promote', 'orders'], 2, /missing required argument 'version'/],
    [['promote', 'orders', '0001', '--label', 'best'], 2, /Allowed choices are stable, canary/],
    [['promote', 'orders', 'latest'], 2, /"latest" is not a version/],
    [['promote', '../orders', '0001'], 2, /a model name is/],
    [['promote', 'orders', '0042'], 3, /orders\/0042 is refused/],
    [['promote', 'broken', '0001'], 3, /manifest\.json is not JSON/],
    [['rollback', 'broken'], 2, /no version of model broken before 0001/],
    [['rollback', 'none'], 3, /there is no version of it/],
    [['show', 'none'], 3, /there is no model none/],
    [['show', 'orders/0042'], 3, /there is no model orders\/0042/],
    [['show', 'orders/0001/x'], 2, /NAME\/VERSION/],
    [['show', '../../etc/passwd'], 2, /NAME\/VERSION/],
    [['show', '..'], 2, /a model name is/],
    [['show', 'orders/..'], 3, /there is no model/],
  ];
  test.each(bad)('%j ends with %d', async (args, exitCode, says) => {
    expect(await models(...args)).toEqual({ exitCode });
    expect(err).toMatch(says);
    expect(err).not.toMatch(/\n\s+at /);
    expect(out).toBe('');
    expect(await models(...args, '--json')).toEqual({ exitCode });
    expect(JSON.parse(out).error.exit_code).toBe(exitCode);
  });
});
