import { backendCheck } from '../../src/cli/backend-check.ts';
import { FeatureEngine } from '../../src/features/engine.ts';
import { loadTensorflow } from '../../src/model/backend.ts';
import { loadModel } from '../../src/model/registry.ts';
import { movingHotSet } from './model.synthetic.ts';

/** A process of its own for model-backends.test.ts, because a process has one backend: says which, and what it predicts. */
const [root = '', now = ''] = process.argv.slice(2);
const check = await backendCheck();
const say = (result: object) => process.stdout.write(JSON.stringify({ check, ...result }));
const backend = check.status === 'refuse' ? undefined : (await loadTensorflow()).backend;
if (!backend || !root) say({ backend });
else {
  const predictor = await loadModel(root, 'orders');
  const engine = new FeatureEngine(predictor.manifest.feature_spec);
  engine.observeAll(movingHotSet());
  const { score, changes } = await predictor.score(engine, Number(now), 'network');
  say({ backend, score: [...score], changes: [...changes] });
}
