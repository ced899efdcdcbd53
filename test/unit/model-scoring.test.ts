import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { seededRng } from '../../src/core/rng.ts';
import { FeatureEngine } from '../../src/features/engine.ts';
import { featureSpec, featureSpecHash } from '../../src/features/spec.ts';
import { loadTensorflow, type Tensorflow } from '../../src/model/backend.ts';
import { plainNetwork } from '../../src/model/forward.ts';
import type { Manifest } from '../../src/model/manifest.ts';
import { corrections, createNetwork, type Network, standardOf } from '../../src/model/network.ts';
import { Predictor, type PredictorOptions, skipColumns } from '../../src/model/predictor.ts';
import { ScoringPool } from '../../src/model/scoring-pool.ts';

const day = 86_400;
const now = 15 * day;
const rows = 20_011; // no multiple of a batch
const spec = featureSpec(3600, { grouped: true });

let tensorflow: Tensorflow;
const engine = new FeatureEngine(spec, {
  groupOf: (key) => (key.length % 2 ? `g${key.slice(-1)}` : null),
  events: [{ start: now + 60, end: now + 7200, group: 'g1', kind: 'sale', weight: 1 }],
});
const rng = seededRng(1);
for (let i = 0; i < 3 * rows; i++) {
  const key = String(i < rows ? i : Math.floor(rows * rng() ** 3));
  engine.observe({ key, op: i % 7 ? 'R' : 'W', at: (now * i) / (3 * rows) });
}

const disposable: { dispose(): void }[] = [];
beforeAll(async () => {
  tensorflow = await loadTensorflow();
}, 60_000);
afterEach(() => {
  for (const one of disposable.splice(0)) one.dispose();
});

/** A network whose weights are all random: every column counts, and no correction is zero. */
function randomNetwork(): Network {
  const columns = spec.columns.length;
  const network = createNetwork(tensorflow, {
    columns,
    skip: skipColumns(spec, { name: 'ewma', halfLife: 3 }),
    standard: standardOf(engine.matrix(now), columns),
    hidden: [16, 8],
    seed: 3,
  });
  const layer = network.model.getLayer('correction');
  const random = layer
    .getWeights()
    .map(({ shape }) => tensorflow.tf.randomUniform(shape, -0.3, 0.3, 'float32', 4));
  layer.setWeights(random);
  tensorflow.tf.dispose(random);
  return network;
}

function predictor(options: PredictorOptions, manifest: Partial<Manifest> = {}): Predictor {
  const given = {
    feature_spec_hash: featureSpecHash(spec),
    predictor: 'network',
    base: 'ewma',
    half_life: { index: 3 },
    group_half_life: { index: 5 },
    change_weight: 1,
    ...manifest,
  } as Manifest;
  const made = new Predictor(tensorflow, randomNetwork(), given, options);
  disposable.push(made);
  return made;
}

describe('forward pass', () => {
  it('is the layers of the network, standardisation folded in', () => {
    const network = randomNetwork();
    const features = engine.matrixRange(now, 0, 1000);
    const plain = corrections(tensorflow, network, features);
    const layers = tensorflow.tf.tidy(() => {
      const input = tensorflow.tf.tensor2d(features, [1000, spec.columns.length]);
      return [...(network.correction.predict(input) as typeof input).dataSync()];
    });
    layers.forEach((value, i) => {
      expect(plain[i]).toBeCloseTo(value, 4);
    });
    expect(new Set(plain).size).toBeGreaterThan(900);
    network.model.dispose();
  });
});

describe('scoring in threads', () => {
  it.each([
    ['network', {}],
    ['mix', { change_weight: 3 }],
    ['network', { base: 'group' }],
  ] as const)(
    'gives the bits of a single thread: %s %o',
    async (as, manifest) => {
      const alone = await predictor({ threads: 0 }, manifest).score(engine, now, as);
      const together = await predictor({ threads: 2, rowsForThreads: 0 }, manifest).score(engine, now, as);
      expect(together.accesses.buffer).toBeInstanceOf(SharedArrayBuffer);
      expect(alone.accesses.buffer).toBeInstanceOf(ArrayBuffer);
      for (const part of ['accesses', 'changes', 'score'] as const) {
        expect(bits(together[part]).equals(bits(alone[part])), part).toBe(true);
      }
      expect(together.score).toHaveLength(rows);
      expect(together.keys).toEqual(alone.keys);
    },
    60_000,
  );

  it('sees what was observed since, with the same threads', async () => {
    const grown = new FeatureEngine(featureSpec(3600, { grouped: true }));
    const both = [predictor({ threads: 0 }), predictor({ threads: 1, rowsForThreads: 0 })];
    for (let round = 1; round <= 3; round++) {
      // the memory grows by a copy first, then in place
      for (let i = 0; i < 30_000 * round; i++) grown.observe({ key: String(i), op: 'R', at: round * 100 });
      const [alone, together] = await Promise.all(both.map((one) => one.score(grown, round * 100)));
      expect(bits(together!.score).equals(bits(alone!.score))).toBe(true);
    }
  }, 60_000);

  it('rejects when a thread fails, and the next call begins with new ones', async () => {
    const network = randomNetwork();
    disposable.push(network.model);
    const plain = plainNetwork(network);
    const pool = new ScoringPool(2, tensorflow.backend.name);
    const score = (layers: typeof plain.layers) =>
      pool.score(engine, now, { layers }, { name: 'ewma', halfLife: 3 }, 1);
    const failure = { code: 'UNEXPECTED', message: expect.stringContaining('a scoring thread failed') };
    await expect(score(plain.layers.slice(1))).rejects.toMatchObject(failure);
    expect((await score(plain.layers)).accesses).toHaveLength(rows);
    await pool.close();
  }, 60_000);

  it('rejects when a thread has another backend', async () => {
    const network = randomNetwork();
    disposable.push(network.model);
    const pool = new ScoringPool(1, 'tfjs-node');
    await expect(
      pool.score(engine, now, plainNetwork(network), { name: 'ewma', halfLife: 3 }, 1),
    ).rejects.toThrow(/the thread has the backend \w+, not tfjs-node/);
  }, 60_000);

  it('is interrupted when the predictor is disposed', async () => {
    const one = predictor({ threads: 2, rowsForThreads: 0 });
    const scores = one.score(engine, now);
    disposable.splice(0).forEach((made) => {
      made.dispose();
    });
    await expect(scores).rejects.toMatchObject({ code: 'INTERRUPTED' });
  }, 60_000);

  it('keeps a process alive while it scores, and not afterwards', () => {
    const child = fileURLToPath(new URL('../support/scoring-child.ts', import.meta.url));
    const { stdout, stderr, status } = spawnSync(process.execPath, ['--import', 'tsx', child], {
      timeout: 50_000,
      encoding: 'utf8',
    });
    expect({ stdout, stderr, status }).toEqual({ stdout: '300 scores\n', stderr: '', status: 0 });
  }, 60_000);
});

const bits = ({ buffer, byteOffset, byteLength }: Float64Array) =>
  Buffer.from(buffer, byteOffset, byteLength);
