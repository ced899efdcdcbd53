import { FeatureEngine } from '../../src/features/engine.ts';
import { featureSpec } from '../../src/features/spec.ts';
import { loadTensorflow } from '../../src/model/backend.ts';
import { plainNetwork } from '../../src/model/forward.ts';
import { createNetwork, standardOf } from '../../src/model/network.ts';
import { ScoringPool } from '../../src/model/scoring-pool.ts';

/** Scores with a thread and never ends it: nothing but the call itself may keep this process alive. */
const tensorflow = await loadTensorflow();
const engine = new FeatureEngine(featureSpec(60));
for (let i = 0; i < 300; i++) engine.observe({ key: String(i), op: 'R', at: i });
const columns = engine.spec.columns.length;
const standard = standardOf(engine.matrix(300), columns);
const network = createNetwork(tensorflow, { columns, skip: [0, 10], standard, hidden: [16, 8], seed: 1 });
const pool = new ScoringPool(1, tensorflow.backend.name);
const score = () => pool.score(engine, 300, plainNetwork(network), { name: 'ewma', halfLife: 0 }, 1);
await score();
// a thread that is starting keeps the process alive by itself; one that is there does not
const { accesses } = await score();
process.stdout.write(`${accesses.length} scores\n`);
