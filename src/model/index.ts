export { type BackendInfo, loadTensorflow } from './backend.ts';
export { readEventsFile } from './events-file.ts';
export { Manifest, StoredManifest } from './manifest.ts';
export { Predictor, type Scores, type UnknownScore } from './predictor.ts';
export { type Baseline, baselines, type HitOptions, type HitShare, hitShare } from './rankings.ts';
export { listModels, listVersions, loadModel, saveModel } from './registry.ts';
export { type PredictorName, predictorNames } from './select.ts';
export { chooseTop, topPositions } from './top.ts';
export { type Trained, type TrainOptions, trainModel } from './train.ts';
