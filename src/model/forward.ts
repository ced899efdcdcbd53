import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import type { Tensorflow } from './backend.ts';
import type { Network } from './network.ts';

/** One dense layer as plain numbers. */
export interface PlainLayer {
  readonly inputs: number;
  readonly units: number;
  /** inputs × units, row-major */
  readonly kernel: Float32Array;
  readonly bias: Float32Array;
}

/**
 * What a network adds to its base, without TensorFlow.js: can be sent to another thread. Standardisation is folded
 * into the first layer, which spares a pass over the features. All layers but the last are followed by a ReLU.
 */
export interface PlainNetwork {
  readonly layers: readonly PlainLayer[];
}

/** Reads the weights as they are now; later training does not reach them. */
export function plainNetwork(network: Network): PlainNetwork {
  const named = (name: string) => network.model.getLayer(name).getWeights();
  const hidden = network.model.layers.map(({ name }) => name).filter((name) => name.startsWith('hidden_'));
  const layers = [...hidden, 'correction'].map((name): PlainLayer => {
    const [kernel, bias] = named(name) as [Tensor, Tensor];
    const [inputs, units] = kernel.shape as [number, number];
    return { inputs, units, kernel: numbers(kernel), bias: numbers(bias) };
  });
  const [gamma, beta, mean, variance] = named('standardise').map(numbers);
  const { epsilon } = network.model.getLayer('standardise').getConfig() as { epsilon: number };
  const first = layers[0]!;
  const bias = Float64Array.from(first.bias);
  const kernel = new Float32Array(first.kernel.length);
  for (let input = 0; input < first.inputs; input++) {
    const scale = gamma![input]! / Math.sqrt(variance![input]! + epsilon);
    const shift = beta![input]! - mean![input]! * scale;
    for (let unit = 0; unit < first.units; unit++) {
      const weight = first.kernel[input * first.units + unit]!;
      kernel[input * first.units + unit] = weight * scale;
      bias[unit]! += weight * shift;
    }
  }
  layers[0] = { ...first, kernel, bias: Float32Array.from(bias) };
  return { layers };
}

const numbers = (tensor: Tensor): Float32Array => tensor.dataSync<'float32'>();

/**
 * Runs a network's layers one by one, on weights that stay in the backend. The one forward pass of scoring and of
 * validation: a row gets the same bits in every batch and on every thread with the same backend. Dispose it.
 */
export class Forward {
  readonly #tf: Tensorflow['tf'];
  readonly #layers: readonly { readonly kernel: Tensor2D; readonly bias: Tensor }[];
  readonly #columns: number;

  constructor({ tf }: Tensorflow, { layers }: PlainNetwork) {
    this.#tf = tf;
    this.#columns = layers[0]!.inputs;
    this.#layers = layers.map(({ inputs, units, kernel, bias }) => ({
      kernel: tf.tensor2d(kernel, [inputs, units]),
      bias: tf.tensor1d(bias),
    }));
  }

  /**
   * What the network adds to its base, in log1p space.
   * @param features rows × columns, row-major
   * @returns rows × 2 (accesses, changes), row-major
   */
  run(features: Float32Array): Float32Array {
    const tf = this.#tf;
    const input: Tensor2D = tf.tensor2d(features, [features.length / this.#columns, this.#columns]);
    const last = this.#layers.length - 1;
    const output = this.#layers.reduce((a, { kernel: b, bias }, n) => {
      const layer = tf.fused.matMul({ a, b, bias, activation: n < last ? 'relu' : 'linear' });
      a.dispose();
      return layer as Tensor2D;
    }, input);
    // Not out of tf.tidy: it walks through every number of what is returned, which takes longer than the network.
    const numbers = output.dataSync<'float32'>();
    output.dispose();
    return numbers;
  }

  dispose(): void {
    for (const { kernel, bias } of this.#layers) this.#tf.dispose([kernel, bias]);
  }
}
