import { beforeAll, describe, expect, it } from 'vitest';
import { FeatureEngine } from '../../src/features/engine.ts';
import { featureSpec } from '../../src/features/spec.ts';
import { loadTensorflow, type Tensorflow } from '../../src/model/backend.ts';
import { corrected, ewmaExpectation } from '../../src/model/expectation.ts';
import { fitNetwork } from '../../src/model/fit.ts';
import { corrections, createNetwork, disposeNetwork, standardOf } from '../../src/model/network.ts';
import { skipColumns } from '../../src/model/predictor.ts';
import type { Samples } from '../../src/model/samples.ts';
import { chooseTop } from '../../src/model/top.ts';
import { movingHotSet } from './model.synthetic.ts';

const spec = featureSpec(15);
const columns = spec.columns.length;
const breathe = () => undefined;
let tensorflow: Tensorflow;
beforeAll(async () => {
  tensorflow = await loadTensorflow();
}, 30_000);

/** Samples where the truth is known: twice as many accesses as the EWMA expects. */
function doubling(engine: FeatureEngine, now: number, halfLife: number): Samples {
  const features = engine.matrix(now);
  const [accesses, changes] = skipColumns(spec, { name: 'ewma', halfLife });
  const targets = new Float32Array(engine.size * 2);
  for (let row = 0; row < engine.size; row++) {
    targets[row * 2] = Math.log1p(2 * Math.expm1(features[row * columns + accesses]!));
    targets[row * 2 + 1] = features[row * columns + changes]!;
  }
  return { rows: engine.size, features, targets, weights: new Float32Array(engine.size).fill(1) };
}

describe('backend', () => {
  it('says which one runs and why, and leaves no handlers on the process', async () => {
    expect(['tfjs-node', 'wasm', 'cpu']).toContain(tensorflow.backend.name);
    expect(tensorflow.backend.reason).not.toBe('');
    expect(await loadTensorflow()).toBe(tensorflow);
    for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
      const sources = process.listeners(event as 'uncaughtException').map(String);
      expect(sources.filter((source) => source.includes('ExitStatus'))).toEqual([]);
    }
  });
});

describe('network', () => {
  const engine = new FeatureEngine(spec);
  engine.observeAll(movingHotSet());
  const now = 120;

  it('ranks exactly as the EWMA before it is trained', () => {
    for (const halfLife of [0, 3, 9]) {
      const features = engine.matrix(now);
      const shape = {
        columns,
        skip: skipColumns(spec, { name: 'ewma', halfLife }),
        standard: standardOf(features, columns),
        seed: 5,
      };
      const network = createNetwork(tensorflow, shape);
      const output = corrections(tensorflow, network, features);
      expect(output.every((value) => value === 0)).toBe(true);
      const ewma = ewmaExpectation(engine, now, halfLife).accesses;
      const scores = ewma.map((expected, i) => corrected(expected, output[i * 2]!));
      expect(scores).toEqual(ewma);
      expect(chooseTop(engine.keys(), scores, 80, 1)).toEqual(chooseTop(engine.keys(), ewma, 80, 1));
      // and the saved model, by itself, gives log1p of the same expectation
      const whole = tensorflow.tf.tidy(() => {
        const input = tensorflow.tf.tensor2d(features, [engine.size, columns]);
        return (network.model.predict(input) as typeof input).dataSync();
      });
      ewma.forEach((expected, i) => {
        expect(whole[i * 2]).toBeCloseTo(Math.log1p(expected), 5);
      });
      disposeNetwork(network);
    }
  });

  it('learns a correction, the same one for the same seed, and another for another', async () => {
    const halfLife = 4;
    const samples = doubling(engine, now, halfLife);
    const trainedWith = (seed: number) =>
      fitNetwork(tensorflow, samples, {
        skip: skipColumns(spec, { name: 'ewma', halfLife }),
        seed,
        epochs: 1,
        breathe,
      });
    const [one, same, other] = [await trainedWith(1), await trainedWith(1), await trainedWith(2)];
    expect(one.lossAfter).toBeLessThan(one.lossBefore / 5);
    const outputs = [one, same, other].map(({ network }) =>
      corrections(tensorflow, network, samples.features),
    );
    expect(outputs[1]).toEqual(outputs[0]);
    expect(outputs[2]).not.toEqual(outputs[0]);
    for (const { network } of [one, same, other]) disposeNetwork(network);
  }, 60_000);

  it('leaks no tensors', async () => {
    const samples = doubling(engine, now, 4);
    const before = tensorflow.tf.memory().numTensors;
    const options = { skip: skipColumns(spec, { name: 'ewma', halfLife: 4 }), seed: 1, epochs: 1, breathe };
    const { network } = await fitNetwork(tensorflow, samples, options);
    const trained = tensorflow.tf.memory().numTensors;
    for (let i = 0; i < 3; i++) corrections(tensorflow, network, samples.features);
    expect(tensorflow.tf.memory().numTensors).toBe(trained);
    disposeNetwork(network);
    expect(tensorflow.tf.memory().numTensors).toBe(before);
  }, 60_000);

  it('standardises constant columns to zero, not to infinity', () => {
    const standard = standardOf(Float32Array.from([1, 5, 3, 5]), 2);
    expect([...standard.mean]).toEqual([2, 5]);
    expect([...standard.deviation]).toEqual([1, 1]);
  });
});
