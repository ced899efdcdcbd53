export { type BackendInfo, chooseBackend, loadTensorflow } from './backend.ts';
export { expectedHitShare } from './calibration.ts';
export { foretell } from './calibration-error.ts';
export { readEventsFile } from './events-file.ts';
export { EventsWriter } from './events-writer.ts';
export { type Expectation, recentUse } from './expectation.ts';
export { Manifest, StoredManifest } from './manifest.ts';
export type { World } from './past.ts';
export { Predictor, type Scores, type SlotScores, type UnknownScore } from './predictor.ts';
export {
  type Baseline,
  baselines,
  futureValues,
  type HitOptions,
  type HitShare,
  hitShare,
} from './rankings.ts';
export type { Recipe } from './recipe.ts';
export {
  isLabel,
  type LabelName,
  type Labels,
  labelNames,
  listModels,
  listVersions,
  loadModel,
  modelCard,
  promote,
  readLabels,
  readManifest,
  resolveVersion,
  rollback,
  saveModel,
  unlabel,
  versionFolder,
} from './registry.ts';
export { type PredictorName, predictorNames } from './select.ts';
export { chooseTop, topPositions } from './top.ts';
export { disposeAll, type Trained, type TrainOptions, trainModel, trainModels } from './train.ts';
export { positionOf } from './windows.ts';
