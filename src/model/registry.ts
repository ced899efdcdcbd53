import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { io } from '@tensorflow/tfjs-core';
import Value from 'typebox/value';
import { ForeshadowError } from '../core/errors.ts';
import { type FeatureSpec, featureSpec, featureSpecHash } from '../features/spec.ts';
import { loadTensorflow } from './backend.ts';
import { MANIFEST_SCHEMA, type Manifest, StoredManifest } from './manifest.ts';
import { networkOf } from './network.ts';
import { Predictor } from './predictor.ts';

const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const VERSION = /^[0-9]{4,}$/;

/** Versions of a model, oldest first; none when there is no such model. @throws ForeshadowError USAGE */
export async function listVersions(root: string, name: string): Promise<string[]> {
  let entries: string[];
  try {
    entries = await readdir(folderOf(root, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return entries.filter((entry) => VERSION.test(entry)).sort((a, b) => Number(a) - Number(b));
}

/** Names of all models in a registry, sorted; none when there is no registry. */
export async function listModels(root: string): Promise<string[]> {
  try {
    const entries = await readdir(root, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && NAME.test(entry.name))
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/**
 * Saves a predictor as the next version of a model: `root/name/0001/{model.json, weights.bin, manifest.json}`. A
 * version appears complete or not at all.
 * @returns the version and its folder
 * @throws ForeshadowError USAGE when the name is not one
 */
export async function saveModel(
  root: string,
  name: string,
  predictor: Predictor,
): Promise<{ version: string; path: string; manifest: StoredManifest }> {
  const folder = folderOf(root, name);
  await mkdir(folder, { recursive: true });
  const { modelJson, weights } = await artifactsOf(predictor);
  const manifest: StoredManifest = {
    ...predictor.manifest,
    files: { model_json_sha256: sha256(modelJson), weights_bin_sha256: sha256(weights) },
  };
  const draft = await mkdtemp(join(folder, '.draft-'));
  try {
    await writeFile(join(draft, 'model.json'), modelJson);
    await writeFile(join(draft, 'weights.bin'), weights);
    await writeFile(join(draft, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    for (;;) {
      const latest = Number((await listVersions(root, name)).at(-1) ?? 0);
      const version = String(latest + 1).padStart(4, '0');
      const path = join(folder, version);
      // Renaming onto a folder that another process has just filled fails: then the number after it is ours.
      if (await renamed(draft, path)) return { version, path, manifest };
    }
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Loads a version of a model, the latest when none is named.
 * @param expected the features that will be scored; by default those of this version of the code at the model's horizon
 * @throws ForeshadowError MODEL_REFUSED, naming what is wrong: missing, damaged, another schema, other features
 */
export async function loadModel(
  root: string,
  name: string,
  version?: string,
  expected?: FeatureSpec,
): Promise<Predictor> {
  const chosen = version ?? (await listVersions(root, name)).at(-1);
  const label = `model ${name}${chosen ? `/${chosen}` : ''}`;
  if (chosen === undefined) throw refused(label, `there is no version of it in ${root}`);
  if (!VERSION.test(chosen)) throw new ForeshadowError('USAGE', `"${chosen}" is not a version, such as 0001`);
  const folder = join(folderOf(root, name), chosen);
  const read = (file: string) =>
    readFile(join(folder, file)).catch((cause: Error) => {
      throw refused(label, `${file} cannot be read`, cause);
    });
  const manifest = parseManifest(await read('manifest.json'), label);
  checkFeatures(manifest, expected, label);
  const modelJson = await read('model.json');
  const weights = await read('weights.bin');
  if (sha256(modelJson) !== manifest.files.model_json_sha256) {
    throw refused(label, 'model.json is damaged: its hash is not the one in the manifest');
  }
  if (sha256(weights) !== manifest.files.weights_bin_sha256) {
    throw refused(label, 'weights.bin is damaged: its hash is not the one in the manifest');
  }
  const tensorflow = await loadTensorflow();
  try {
    const model = await tensorflow.layers.loadLayersModel({
      load: async () => artifactsFrom(modelJson, weights),
    });
    return new Predictor(tensorflow, networkOf(tensorflow, model), manifest);
  } catch (cause) {
    throw refused(label, `TensorFlow.js cannot read it: ${(cause as Error).message}`, cause as Error);
  }
}

/** @throws ForeshadowError USAGE: a name becomes a folder, so it must not be able to leave the registry */
function folderOf(root: string, name: string): string {
  if (!NAME.test(name)) {
    throw new ForeshadowError('USAGE', `a model name is 1–64 of a–z, 0–9, _ and -, not "${name}"`);
  }
  return join(root, name);
}

function parseManifest(bytes: Buffer, label: string): StoredManifest {
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw refused(label, 'manifest.json is not JSON', cause as Error);
  }
  const schema = (document as { schema?: unknown } | null)?.schema;
  if (schema !== MANIFEST_SCHEMA) {
    throw refused(
      label,
      `its manifest has schema ${JSON.stringify(schema)}; this version reads ${MANIFEST_SCHEMA}`,
    );
  }
  if (Value.Check(StoredManifest, document)) return document;
  const first = [...Value.Errors(StoredManifest, document)][0];
  throw refused(label, `its manifest is not valid: ${first?.instancePath || '/'} ${first?.message ?? ''}`);
}

function checkFeatures(manifest: Manifest, expected: FeatureSpec | undefined, label: string): void {
  const { grouped } = manifest.feature_spec;
  const wanted = featureSpecHash(expected ?? featureSpec(manifest.horizon_seconds, { grouped }));
  const claimed = manifest.feature_spec_hash;
  const actual = featureSpecHash(manifest.feature_spec);
  if (claimed !== actual) throw refused(label, 'its feature spec does not match its own hash');
  if (claimed === wanted) return;
  const hashes = `${claimed.slice(0, 12)} and not ${wanted.slice(0, 12)}`;
  throw refused(label, `it was trained on other features: its spec's hash is ${hashes}`);
}

async function artifactsOf({ network }: Predictor): Promise<{ modelJson: string; weights: Buffer }> {
  let saved: { modelJson: string; weights: Buffer } | undefined;
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

function artifactsFrom(modelJson: Buffer, weights: Buffer): io.ModelArtifacts {
  const document = JSON.parse(modelJson.toString('utf8')) as io.ModelJSON;
  return {
    modelTopology: document.modelTopology,
    weightSpecs: document.weightsManifest.flatMap((group) => group.weights),
    // a copy: a small Buffer is a view into a pool that it shares with others
    weightData: new Uint8Array(weights).buffer,
  };
}

function joined(data: io.WeightData | undefined): Buffer {
  const parts = Array.isArray(data) ? data : data ? [data] : [];
  return Buffer.concat(parts.map((part) => Buffer.from(part)));
}

async function renamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

const sha256 = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');

function refused(label: string, why: string, cause?: Error): ForeshadowError {
  return new ForeshadowError(
    'MODEL_REFUSED',
    `${label} is refused: ${why}`,
    { model: label },
    cause ? { cause } : {},
  );
}
