import type { Scalar, Tensor2D } from '@tensorflow/tfjs-core';
import { seededRng } from '../core/rng.ts';
import type { Tensorflow } from './backend.ts';
import { createNetwork, type Network, type NetworkShape, standardOf } from './network.ts';
import type { Breathe } from './pace.ts';
import type { Recipe } from './recipe.ts';
import { type Samples, shuffledPrefix } from './samples.ts';

/** Small logs take small batches, or a handful of steps would be all their training. */
const batchOf = (rows: number) => Math.max(128, Math.min(1024, Math.ceil(rows / 16)));
/** 300 steps take about a second: that much every network can have. */
const LEAST_STEPS = 300;
/** Share of the steps and learning rate (Adam): large steps to get there, small ones to settle. */
const PHASES = [
  { share: 0.6, learningRate: 0.01 },
  { share: 0.4, learningRate: 0.002 },
] as const;

export interface FitOptions {
  readonly skip: NetworkShape['skip'];
  readonly seed: number;
  readonly recipe: Recipe;
  /** names of the columns of the samples */
  readonly columns: readonly string[];
  readonly breathe: Breathe;
}

export interface Fit {
  readonly network: Network;
  readonly rows: number;
  readonly steps: number;
  /** weighted mean squared error in log1p space, before the first and over the last pass */
  readonly lossBefore: number;
  readonly lossAfter: number;
}

/**
 * Trains a network on weighted squared error. Our own loop: tfjs' `fit` takes no sample weights, and this one lets
 * the process breathe between batches. The same samples and seed give the same weights.
 */
export async function fitNetwork(
  tensorflow: Tensorflow,
  samples: Samples,
  options: FitOptions,
): Promise<Fit> {
  const { tf } = tensorflow;
  const { skip, seed, breathe, recipe } = options;
  const columns = options.columns.length;
  const standard = standardOf(samples.features, columns);
  // what has an infinite deviation is always at its mean
  options.columns.forEach((name, i) => {
    if (recipe.hides(name)) standard.deviation[i] = Number.POSITIVE_INFINITY;
  });
  const network = createNetwork(tensorflow, { columns, skip, standard, hidden: recipe.hidden, seed });
  const batches = batchesOf(tensorflow, samples, columns, skip);
  const variables = network.correction.trainableWeights.map((weight) => weight.read());
  const lossOf = (batch: Batch): Scalar => {
    const output = network.correction.apply(batch.features, { training: false }) as Tensor2D;
    if (recipe.loss === 'squared')
      return tf.mean(tf.mul(tf.squaredDifference(output, batch.residuals), batch.weights));
    const mean = tf.maximum(tf.expm1(tf.add(output, batch.skipped)), 1e-6);
    const counts = tf.expm1(tf.add(batch.residuals, batch.skipped));
    return tf.mean(tf.mul(tf.sub(mean, tf.mul(counts, tf.log(mean))), batch.weights));
  };
  const rng = seededRng(seed);
  const steps = Math.max(LEAST_STEPS, recipe.epochs * batches.count);
  let lossBefore = Number.NaN;
  let lossAfter = 0;
  let order: number[] = [];
  let step = 0;
  for (const phase of PHASES) {
    const optimizer = tf.train.adam(phase.learningRate);
    const end = phase === PHASES.at(-1) ? steps : Math.round(steps * phase.share);
    for (; step < end; step++) {
      if (step % batches.count === 0) {
        order = shuffledPrefix(
          Array.from({ length: samples.rows }, (_, i) => i),
          samples.rows,
          rng,
        );
      }
      const loss = tf.tidy(() => {
        const batch = batches.take(order, step % batches.count);
        const value = optimizer.minimize(() => lossOf(batch), true, variables as never);
        return value!.dataSync()[0]!;
      });
      if (step === 0) lossBefore = loss;
      if (step >= steps - batches.count) lossAfter += loss / batches.count;
      await breathe();
    }
    optimizer.dispose();
  }
  return { network, rows: samples.rows, steps, lossBefore, lossAfter };
}

interface Batch {
  readonly features: Tensor2D;
  readonly residuals: Tensor2D;
  /** what is corrected: log1p counts */
  readonly skipped: Tensor2D;
  readonly weights: Tensor2D;
}

/** Cuts shuffled samples into batches; what is learnt is the target less the skipped EWMA. */
function batchesOf({ tf }: Tensorflow, samples: Samples, columns: number, skip: NetworkShape['skip']) {
  const { rows, features, targets, weights } = samples;
  const batch = batchOf(rows);
  let sum = 0;
  for (const weight of weights) sum += weight;
  return {
    count: Math.ceil(rows / batch),
    /** must run inside tf.tidy */
    take(order: readonly number[], n: number): Batch {
      const size = Math.min(batch, rows - n * batch);
      const x = new Float32Array(size * columns);
      const y = new Float32Array(size * 2);
      const base = new Float32Array(size * 2);
      const w = new Float32Array(size);
      for (let i = 0; i < size; i++) {
        const row = order[n * batch + i]!;
        x.set(features.subarray(row * columns, (row + 1) * columns), i * columns);
        for (let output = 0; output < 2; output++) {
          base[i * 2 + output] = features[row * columns + skip[output]!]!;
          y[i * 2 + output] = targets[row * 2 + output]! - base[i * 2 + output]!;
        }
        // scaled to a mean of one, so that the learning rate does not depend on the sampling fraction
        w[i] = (weights[row]! * rows) / sum;
      }
      return {
        features: tf.tensor2d(x, [size, columns]),
        residuals: tf.tensor2d(y, [size, 2]),
        skipped: tf.tensor2d(base, [size, 2]),
        weights: tf.tensor2d(w, [size, 1]),
      };
    },
  };
}
