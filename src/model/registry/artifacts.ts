import type { io } from '@tensorflow/tfjs-core';
import type { Predictor } from '../predictor.ts';

/** A network as two files in the standard layout of TensorFlow.js layers models. */
export interface Artifacts {
  readonly modelJson: string;
  readonly weights: Buffer;
}

export async function artifactsOf({ network }: Pick<Predictor, 'network'>): Promise<Artifacts> {
  let saved: Artifacts | undefined;
  // The file:// handler exists only in tfjs-node; the layout is the same.
  await network.model.save({
    save: async (artifacts) => {
      const { modelTopology, weightSpecs, weightData, format, generatedBy } = artifacts;
      const weightsManifest = [{ paths: ['weights.bin'], weights: weightSpecs }];
      const document = { format, generatedBy, convertedBy: null, modelTopology, weightsManifest };
      saved = { modelJson: JSON.stringify(document), weights: joined(weightData) };
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    },
  });
  return saved!;
}

/** @throws SyntaxError or TypeError when model.json is not of that layout; RangeError when the weights are too few */
export function artifactsFrom(modelJson: Buffer, weights: Buffer): io.ModelArtifacts {
  const document = JSON.parse(modelJson.toString('utf8')) as io.ModelJSON;
  const weightSpecs = document.weightsManifest.flatMap((group) => group.weights);
  const values = weightSpecs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  // TensorFlow.js would fill up what is missing with what happens to follow, or fail at the first score.
  if (values * Float32Array.BYTES_PER_ELEMENT !== weights.length)
    throw new RangeError(`weights.bin holds ${weights.length} bytes, the network needs ${values} floats`);
  return {
    modelTopology: document.modelTopology,
    weightSpecs,
    // a copy: a small Buffer is a view into a pool that it shares with others
    weightData: new Uint8Array(weights).buffer,
  };
}

function joined(data: io.WeightData | undefined): Buffer {
  const parts = Array.isArray(data) ? data : data ? [data] : [];
  return Buffer.concat(parts.map((part) => Buffer.from(part)));
}
