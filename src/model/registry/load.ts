import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { FeatureSpec } from '../../features/spec.ts';
import { loadTensorflow } from '../backend.ts';
import { networkOf } from '../network.ts';
import { Predictor } from '../predictor.ts';
import { artifactsFrom } from './artifacts.ts';
import { resolveVersion } from './labels.ts';
import { refused, titleOf } from './names.ts';
import { readStored } from './stored.ts';

/**
 * Loads a version of a model: the one that a label names, or, when neither is told, the stable one, or else the newest.
 * @param version such as `0003`, or a label
 * @param expected the features that will be scored; by default those of this version of the code at the model's horizon
 * @throws ForeshadowError MODEL_REFUSED, naming what is wrong: missing, damaged, another schema, other features
 */
export async function loadModel(
  root: string,
  name: string,
  version?: string,
  expected?: FeatureSpec,
): Promise<Predictor> {
  const chosen = await resolveVersion(root, name, version);
  if (chosen === undefined) {
    const what = version === undefined ? 'version of it' : `version labelled ${version}`;
    throw refused(titleOf(name), `there is no ${what} in ${root}`);
  }
  const title = titleOf(name, chosen);
  const { manifest, modelJson, weights } = await readStored(root, name, chosen, expected);
  const tensorflow = await loadTensorflow();
  let model: LayersModel | undefined;
  try {
    model = await tensorflow.layers.loadLayersModel({ load: async () => artifactsFrom(modelJson, weights) });
    const takes = model.inputs[0]?.shape[1];
    const columns = manifest.feature_spec.columns.length;
    if (takes !== columns) throw new RangeError(`it takes ${takes} columns, its features have ${columns}`);
    return new Predictor(tensorflow, networkOf(tensorflow, model), manifest);
  } catch (cause) {
    model?.dispose();
    throw refused(title, `TensorFlow.js cannot read it: ${(cause as Error).message}`, cause);
  }
}
