import { loadModel, promote, saveModel } from '../../src/model/registry.ts';

/** A process of its own for model-labels.test.ts: saves versions of a model, and promotes each. */
const [root = '', name = '', rounds] = process.argv.slice(2);
const predictor = await loadModel(root, name, '0001');
for (let i = 0; i < Number(rounds); i++) {
  const { version } = await saveModel(root, name, predictor);
  await promote(root, name, version);
}
