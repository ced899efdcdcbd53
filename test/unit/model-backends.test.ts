import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { backendNames, backendOf } from '../../src/config/backend.ts';
import { loadConfig } from '../../src/config/config.ts';
import type { Check } from '../../src/migration/preflight/checks.ts';
import type { BackendInfo } from '../../src/model/backend.ts';
import { chooseBackend, loadTensorflow } from '../../src/model/index.ts';
import { saveModel } from '../../src/model/registry.ts';
import { trainModel } from '../../src/model/train.ts';
import { movingHotSet } from './model.synthetic.ts';

interface Said {
  readonly check: Check;
  /** absent when no backend could be had */
  readonly backend?: BackendInfo;
  readonly score?: number[];
  readonly changes?: number[];
}

const now = 120;
let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'foreshadow-backends-'));
  const options = { horizonSeconds: 15, budget: 0.1, seed: 3, network: 'always' } as const;
  const { predictor } = await trainModel({ ...options, accesses: movingHotSet(), now });
  expect(predictor.manifest.network.trained).toBe(true);
  await saveModel(root, 'orders', predictor);
  predictor.dispose();
}, 60_000);
afterAll(() => rm(root, { recursive: true, force: true }));

/** What a process of its own says: its predictions too, unless some modules do not load in it. */
async function ask(backend: string, hidden = ''): Promise<Said> {
  const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
  const hooks = hidden ? ['--import', file('./model-backends.hide.mjs')] : [];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', ...hooks, file('./model-backends.child.ts'), hidden ? '' : root, String(now)],
    {
      env: { ...process.env, FORESHADOW_BACKEND: backend, HIDE_MODULES: hidden },
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  return JSON.parse(stdout) as Said;
}

const native = '@tensorflow/tfjs-node';
const wasm = '@tensorflow/tfjs-backend-wasm';

describe('backends', () => {
  it('give the same predictions of the same model, within 0.0001', async () => {
    const said = await Promise.all(backendNames.map((name) => ask(name)));
    const present = said.filter(({ backend }) => backend !== undefined);
    expect(present.map(({ backend }) => backend!.name)).toEqual(expect.arrayContaining(['wasm', 'cpu']));
    const [first, ...others] = present;
    expect(Math.max(...first!.score!)).toBeGreaterThan(1);
    for (const other of others) {
      expect(other.backend!.name).not.toBe(first!.backend!.name);
      for (const what of ['score', 'changes'] as const) {
        expect(other[what]).toHaveLength(first![what]!.length);
        const apart = other[what]!.map((value, i) => Math.abs(value - first![what]![i]!));
        expect(Math.max(...apart)).toBeLessThan(1e-4);
      }
    }
    // One that cannot be had is refused by name; nothing else takes its place.
    for (const [i, { check }] of said.entries()) {
      if (check.status !== 'refuse') continue;
      expect(check).toMatchObject({
        code: 'BAD_CONFIG',
        message: expect.stringMatching(
          `^the backend ${backendNames[i]} of FORESHADOW_BACKEND cannot be had: .`,
        ),
      });
    }
  }, 60_000);

  it.each([
    ['missing', /^tfjs-node is not installed$/],
    ['throws', /^tfjs-node does not load: no addon at this place$/],
    ['miscounts', /^tfjs-node does not compute: 1 \+ 1 = 3$/],
  ])(
    'wasm where tfjs-node %s, and the doctor says why',
    async (how, reason) => {
      if (Number(process.versions.node.split('.')[0]) >= 23) return;
      const { backend, check } = await ask('', `${native}=${how}`);
      expect(backend).toMatchObject({ name: 'wasm', reason: expect.stringMatching(reason) });
      expect(check).toMatchObject({ status: 'ok', message: expect.stringContaining(backend!.reason) });
    },
    30_000,
  );

  it('plain JavaScript where nothing else loads, and the doctor warns', async () => {
    const { backend, check } = await ask('auto', `${native}=missing,${wasm}=throws`);
    expect(backend!.name).toBe('cpu');
    expect(backend!.reason).toMatch(
      /tfjs-node.*; the WebAssembly backend does not load: no addon at this place$/,
    );
    expect(check.status).toBe('warn');
  }, 60_000);

  it('a chosen one that does not load is an error, not a slower one', async () => {
    const { backend, check } = await ask('wasm', `${wasm}=throws`);
    expect(backend).toBeUndefined();
    expect(check).toMatchObject({
      status: 'refuse',
      code: 'BAD_CONFIG',
      message:
        'the backend wasm of FORESHADOW_BACKEND cannot be had: the WebAssembly backend does not load: no addon at this place',
    });
  }, 60_000);

  it('are named by environment or configuration, and by no other name', () => {
    expect(backendOf({})).toBeNull();
    expect(backendOf({ FORESHADOW_BACKEND: 'auto' })).toBeNull();
    for (const name of backendNames) {
      expect(backendOf({ FORESHADOW_BACKEND: name })).toBe(name);
      expect(loadConfig({ FORESHADOW_BACKEND: name })).toMatchObject({ backend: name });
    }
    expect(() => loadConfig({ FORESHADOW_BACKEND: 'gpu' })).toThrow(
      'FORESHADOW_BACKEND "gpu" is none of auto, tfjs-node, wasm, cpu',
    );
  });

  it('cannot be changed once one runs', async () => {
    await loadTensorflow();
    expect(() => chooseBackend(null)).not.toThrow();
    expect(() => chooseBackend('cpu')).toThrow('the backend cannot become cpu: another one runs');
  });
});
