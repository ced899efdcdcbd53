import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FeatureSpec, featureSpec, featureSpecHash } from '../../src/features/spec.ts';
import { loadTensorflow } from '../../src/model/backend.ts';
import { createNetwork, disposeNetwork, standardOf } from '../../src/model/network.ts';
import { artifactsOf } from '../../src/model/registry/artifacts.ts';
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

/** Changes one bit in the middle of a file. */
async function flip(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length >> 1]! ^= 1;
  await writeFile(path, bytes);
}

/** Makes the hashes in the manifest those of the files, as somebody would who wants them to be believed. */
async function rehash(path: string): Promise<void> {
  const hashOf = async (file: string) =>
    createHash('sha256')
      .update(await readFile(join(path, file)))
      .digest('hex');
  const files = {
    model_json_sha256: await hashOf('model.json'),
    weights_bin_sha256: await hashOf('weights.bin'),
  };
  await edit(path, (manifest) => {
    manifest.files = files;
  });
}

/** Puts an untrained network of so many columns in the place of a version's own. */
async function rebuild(path: string, columns: number): Promise<void> {
  const tensorflow = await loadTensorflow();
  const shape = {
    columns,
    skip: [0, 1] as const,
    standard: standardOf(new Float32Array(0), columns),
    hidden: [16, 8],
    seed: 1,
  };
  const network = createNetwork(tensorflow, shape);
  const { modelJson, weights } = await artifactsOf({ network });
  disposeNetwork(network);
  await writeFile(join(path, 'model.json'), modelJson);
  await writeFile(join(path, 'weights.bin'), weights);
  await rehash(path);
}

describe('model registry', () => {
  it('gives back what was saved: the same manifest and bit-identical scores, and no tensors left over', async () => {
    const { version, path, manifest } = await saveModel(root, 'orders', trained.predictor);
    expect(version).toBe('0001');
    expect((await readdir(path)).sort()).toEqual(['card.md', 'manifest.json', 'model.json', 'weights.bin']);
    // open to whom the umask lets in, as the folder above it is
    expect((await stat(path)).mode).toBe((await stat(dirname(path))).mode);
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
    '..',
    'a\\b',
    'a\0b',
    'a\n',
    'labels.json',
    '%2e%2e',
    'é',
  ])('refuses the name %j', async (name) => {
    await expect(saveModel(root, name, trained.predictor)).rejects.toMatchObject({ code: 'USAGE' });
    await expect(loadModel(root, name)).rejects.toMatchObject({ code: 'USAGE' });
  });

  it.each([
    '../../x',
    '1',
    '',
    '0001/../0002',
    '.draft-1',
    '-001',
    '1e30',
    'newest',
    '0'.repeat(10),
  ])('refuses %j, which is no version', async (version) => {
    await expect(loadModel(root, 'orders', version)).rejects.toMatchObject({ code: 'USAGE' });
  });

  it.each<[string, (path: string) => Promise<void>, RegExp]>([
    ['truncated weights', (path) => truncate(join(path, 'weights.bin'), 100), /weights\.bin is damaged/],
    ['empty weights', (path) => truncate(join(path, 'weights.bin'), 0), /weights\.bin is damaged/],
    ['one changed bit of the weights', (path) => flip(join(path, 'weights.bin')), /weights\.bin is damaged/],
    ['missing weights', (path) => rm(join(path, 'weights.bin')), /weights\.bin cannot be read/],
    ['an edited network', (path) => writeFile(join(path, 'model.json'), '{}'), /model\.json is damaged/],
    ['a truncated network', (path) => truncate(join(path, 'model.json'), 200), /model\.json is damaged/],
    ['one changed bit of the network', (path) => flip(join(path, 'model.json')), /model\.json is damaged/],
    ['a missing network', (path) => rm(join(path, 'model.json')), /model\.json cannot be read/],
    ['a manifest that is not JSON', (path) => writeFile(join(path, 'manifest.json'), '{'), /is not JSON/],
    ['a truncated manifest', (path) => truncate(join(path, 'manifest.json'), 300), /is not JSON/],
    ['a missing manifest', (path) => rm(join(path, 'manifest.json')), /manifest\.json cannot be read/],
    ['a manifest of nothing', (path) => writeFile(join(path, 'manifest.json'), 'null'), /schema undefined/],
    [
      'an unknown schema',
      (path) =>
        edit(path, (m) => {
          m.schema = 99;
        }),
      /schema 99; this version reads \d/,
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
    [
      'another hash than the spec has',
      (path) =>
        edit(path, (m) => {
          m.feature_spec_hash = 'a'.repeat(64);
        }),
      /does not match its own hash/,
    ],
    [
      'features of another version of the code',
      (path) =>
        edit(path, (m) => {
          const spec = m.feature_spec as FeatureSpec & { columns: string[] };
          spec.columns.push('phase of the moon');
          m.feature_spec_hash = featureSpecHash(spec);
        }),
      /was trained on other features/,
    ],
    [
      'a half-life that is none of the features',
      (path) =>
        edit(path, (m) => {
          (m.half_life as { index: number }).index = 99;
        }),
      /half-life is none of its features/,
    ],
    [
      'too few weights, with a matching hash',
      async (path) => {
        await truncate(join(path, 'weights.bin'), 400);
        await rehash(path);
      },
      /weights\.bin holds 400 bytes/,
    ],
    [
      'a network of other columns, with a matching hash',
      (path) => rebuild(path, featureSpec(15).columns.length + 1),
      /takes \d+ columns, its features have \d+/,
    ],
    [
      'a network that is not ours, with a matching hash',
      async (path) => {
        const file = join(path, 'model.json');
        await writeFile(file, (await readFile(file, 'utf8')).replaceAll('correction', 'other'));
        await rehash(path);
      },
      /TensorFlow\.js cannot read it/,
    ],
  ])('refuses %s, and keeps no tensor of it', async (_, damage, message) => {
    const { path } = await saveModel(root, 'damaged', trained.predictor);
    await damage(path);
    const { tf } = await loadTensorflow();
    const before = tf.memory().numTensors;
    const refusal = { code: 'MODEL_REFUSED', message: expect.stringMatching(message) };
    await expect(loadModel(root, 'damaged')).rejects.toMatchObject(refusal);
    expect(tf.memory().numTensors).toBe(before);
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
