import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { saveModel } from '../src/model/index.ts';
import { sampleModel, trainSampleModel } from './sample-model.ts';

/** Makes the model that we ship again: on the same backend byte for byte, as long as features and training are the same. */
const models = fileURLToPath(new URL('../models', import.meta.url));
const { predictor, manifest } = await trainSampleModel();
await rm(join(models, sampleModel.name), { recursive: true, force: true });
const { version } = await saveModel(models, sampleModel.name, predictor, {
  reproduce: 'npm run sample-model',
});
process.stdout.write(`${sampleModel.name}/${version}: ${manifest.predictor}, ${manifest.reason}\n`);
