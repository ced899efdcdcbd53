import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { featureSpec } from '../../src/features/spec.ts';
import { loadTensorflow } from '../../src/model/backend.ts';
import { listModels, listVersions, loadModel, saveModel } from '../../src/model/registry.ts';
import { type Trained, trainModel } from '../../src/model/train.ts';
import { movingHotSet } from './model.synthetic.ts';

const now = 90;
let trained: Trained;
let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'foreshadow-models-'));
  const options = { horizonSeconds: 15, budget: 0.1, seed: 3, network: 'always' } as const;
  trained = await trainModel({ ...options, accesses: movingHotSet(), now });
}, 60_000);
afterAll(async () => {
  trained.predictor.dispose();
  await rm(root, { recursive: true, force: true });
});

const edit = async (path: string, change: (manifest: Record<string, unknown>) => void) => {
  const file = join(path, 'manifest.json');
  const manifest = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  change(manifest);
  await writeFile(file, JSON.stringify(manifest));
};

describe('model registry', () => {
  it('gives back what was saved: the same manifest and bit-identical scores, and no tensors left over', async () => {
    const { version, path, manifest } = await saveModel(root, 'orders', trained.predictor);
    expect(version).toBe('0001');
    expect((await readdir(path)).sort()).toEqual(['manifest.json', 'model.json', 'weights.bin']);
    const { tf } = await loadTensorflow();
    const before = tf.memory().numTensors;
    const loaded = await loadModel(root, 'orders');
    expect(loaded.manifest).toEqual(manifest);
    for (const as of ['ewma', 'network', 'mix'] as const) {
      const [mine, theirs] = [
        await trained.predictor.score(trained.engine, now, as),
        await loaded.score(trained.engine, now, as),
      ];
      expect(theirs.score).toEqual(mine.score);
      expect(theirs.changes).toEqual(mine.changes);
    }
    loaded.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('numbers versions, also when several are saved at once, and leaves no drafts', async () => {
    await Promise.all([1, 2, 3].map(() => saveModel(root, 'many', trained.predictor)));
    expect(await listVersions(root, 'many')).toEqual(['0001', '0002', '0003']);
    expect(await readdir(join(root, 'many'))).toHaveLength(3);
    expect(await listModels(root)).toContain('many');
    expect(await listVersions(root, 'none')).toEqual([]);
    expect(await listModels(join(root, 'nowhere'))).toEqual([]);
  });

  it.each([
    '../up',
    '',
    'a/b',
    '.hidden',
    'UPPER',
    'x'.repeat(65),
    '-',
  ])('refuses the name %j', async (name) => {
    await expect(saveModel(root, name, trained.predictor)).rejects.toMatchObject({ code: 'USAGE' });
    await expect(loadModel(root, name)).rejects.toMatchObject({ code: 'USAGE' });
  });

  it('refuses a version that is not one', async () => {
    await expect(loadModel(root, 'orders', '../../x')).rejects.toMatchObject({ code: 'USAGE' });
  });

  it.each<[string, (path: string) => Promise<void>, RegExp]>([
    ['truncated weights', (path) => truncate(join(path, 'weights.bin'), 100), /weights\.bin is damaged/],
    ['missing weights', (path) => rm(join(path, 'weights.bin')), /weights\.bin cannot be read/],
    ['an edited network', (path) => writeFile(join(path, 'model.json'), '{}'), /model\.json is damaged/],
    ['a manifest that is not JSON', (path) => writeFile(join(path, 'manifest.json'), '{'), /is not JSON/],
    [
      'an unknown schema',
      (path) =>
        edit(path, (m) => {
          m.schema = 99;
        }),
      /schema 99; this version reads 2/,
    ],
    [
      'a manifest with a hole',
      (path) =>
        edit(path, (m) => {
          delete m.seed;
        }),
      /manifest is not valid.*seed/,
    ],
    [
      'a spec that was tampered with',
      (path) =>
        edit(path, (m) => {
          (m.feature_spec as { columns: string[] }).columns.reverse();
        }),
      /does not match its own hash/,
    ],
  ])('refuses %s', async (_, damage, message) => {
    const { path } = await saveModel(root, 'damaged', trained.predictor);
    await damage(path);
    await expect(loadModel(root, 'damaged')).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringMatching(message),
    });
  });

  it('refuses other features, and a model that is not there', async () => {
    await expect(loadModel(root, 'orders', '0001', featureSpec(16))).rejects.toMatchObject({
      code: 'MODEL_REFUSED',
      message: expect.stringMatching(/trained on other features/),
    });
    await expect(loadModel(root, 'none')).rejects.toMatchObject({ code: 'MODEL_REFUSED' });
    await expect(loadModel(root, 'orders', '0042')).rejects.toMatchObject({ code: 'MODEL_REFUSED' });
  });
});
