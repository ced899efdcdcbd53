import type { LayersModel, SymbolicTensor } from '@tensorflow/tfjs-layers';
import type { Tensorflow } from './backend.ts';
import { Forward, plainNetwork } from './forward.ts';

/** Rows a scoring batch: small enough to leave the event loop responsive, large enough to be fast. */
export const SCORE_BATCH = 8192;

/** Mean and standard deviation of each feature column over the training rows. */
export interface Standard {
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
}

export interface NetworkShape {
  /** features a row */
  readonly columns: number;
  /** the feature columns that carry log1p of the EWMA's expected accesses and changes */
  readonly skip: readonly [accesses: number, changes: number];
  readonly standard: Standard;
  /** units of the hidden layers */
  readonly hidden: readonly number[];
  readonly seed: number;
}

/**
 * Feature vector → log1p of the accesses and changes to expect in the next horizon:
 *
 *     output = skip(x) + correction((x − mean) / deviation)
 *
 * `skip` copies the two EWMA columns; the last layer of `correction` starts at zero. So an untrained network is the
 * EWMA, and training can only bend it. Everything is in standard layers: the saved model needs nothing beside it.
 */
export interface Network {
  /** rows × columns → rows × 2, what is saved */
  readonly model: LayersModel;
  /** the same layers without the skip: what is trained, and what scoring asks for */
  readonly correction: LayersModel;
}

export function createNetwork(tensorflow: Tensorflow, shape: NetworkShape): Network {
  const { layers, initializers, input, model } = tensorflow.layers;
  const features = input({ shape: [shape.columns], name: 'features' });
  // A small epsilon, not the usual 1e-3: here the layer only standardises, and narrow columns must not be flattened.
  // Its own shift and scale stay in (at zero and one): without them the gradient tape of this layer fails.
  const frozen = { center: true, scale: true, epsilon: 1e-12, trainable: false };
  const standardised = layers.batchNormalization({ name: 'standardise', ...frozen }).apply(features);
  const hidden = shape.hidden.reduce((below, units, n) => {
    const kernelInitializer = initializers.glorotUniform({ seed: shape.seed + n });
    const dense = { units, activation: 'relu', kernelInitializer, name: `hidden_${n + 1}` } as const;
    return layers.dense(dense).apply(below as SymbolicTensor);
  }, standardised);
  const zeros = { units: 2, kernelInitializer: 'zeros' } as const;
  const correction = layers.dense({ ...zeros, name: 'correction' }).apply(hidden as SymbolicTensor);
  const skip = layers.dense({ ...zeros, useBias: false, trainable: false, name: 'ewma' }).apply(features);
  const outputs = layers.add({ name: 'log1p_counts' }).apply([skip, correction] as SymbolicTensor[]);
  const network = networkOf(
    tensorflow,
    model({ inputs: features, outputs: outputs as SymbolicTensor, name: 'foreshadow' }),
  );
  setConstants(tensorflow, network, shape);
  return network;
}

/** Finds the trainable part of a model that was built, or loaded, with our layer names. @throws when it has none */
export function networkOf({ layers }: Tensorflow, model: LayersModel): Network {
  const outputs = model.getLayer('correction').output as SymbolicTensor;
  return { model, correction: layers.model({ inputs: model.inputs, outputs }) };
}

/** Frees the weights of both views. */
export function disposeNetwork(network: Network): void {
  network.model.dispose();
}

/**
 * What the network adds to the EWMA, in log1p space: rows × 2 (accesses, changes), row-major.
 * @param features rows × columns, row-major; at most {@link SCORE_BATCH} rows keep the event loop responsive
 */
export function corrections(tensorflow: Tensorflow, network: Network, features: Float32Array): Float32Array {
  const forward = new Forward(tensorflow, plainNetwork(network));
  try {
    return forward.run(features);
  } finally {
    forward.dispose();
  }
}

/** Column means and deviations of row-major features; a constant column gets the deviation 1. */
export function standardOf(features: Float32Array, columns: number): Standard {
  const rows = features.length / columns;
  const sum = new Float64Array(columns);
  const squares = new Float64Array(columns);
  for (let i = 0; i < features.length; i++) {
    sum[i % columns]! += features[i]!;
    squares[i % columns]! += features[i]! ** 2;
  }
  const mean = Float32Array.from(sum, (total) => (rows ? total / rows : 0));
  const deviation = Float32Array.from(squares, (total, i) => {
    const variance = rows ? total / rows - (sum[i]! / rows) ** 2 : 0;
    return variance > 1e-9 ? Math.sqrt(variance) : 1;
  });
  return { mean, deviation };
}

function setConstants(
  { tf }: Tensorflow,
  { model }: Network,
  { columns, skip, standard }: NetworkShape,
): void {
  const copy = new Float32Array(columns * 2);
  skip.forEach((column, output) => {
    copy[column * 2 + output] = 1;
  });
  tf.tidy(() => {
    const variance = standard.deviation.map((deviation) => deviation ** 2);
    model
      .getLayer('standardise')
      .setWeights([
        tf.ones([columns]),
        tf.zeros([columns]),
        tf.tensor1d(standard.mean),
        tf.tensor1d(variance),
      ]);
    model.getLayer('ewma').setWeights([tf.tensor2d(copy, [columns, 2])]);
  });
}
