/** Trained models on disk: `root/name/{labels.json, 0001/{model.json, weights.bin, manifest.json, card.md}, 0002/…}`. */
export { modelCard } from './registry/card.ts';
export {
  isLabel,
  type LabelName,
  type Labels,
  labelNames,
  promote,
  readLabels,
  resolveVersion,
  rollback,
  unlabel,
} from './registry/labels.ts';
export { loadModel } from './registry/load.ts';
export { listModels, listVersions, versionFolder } from './registry/names.ts';
export { saveModel } from './registry/save.ts';
export { readManifest } from './registry/stored.ts';
