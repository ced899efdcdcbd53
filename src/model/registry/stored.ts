import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Value from 'typebox/value';
import { type FeatureSpec, featureSpec, featureSpecHash } from '../../features/spec.ts';
import { MANIFEST_SCHEMA, type Manifest, StoredManifest } from '../manifest.ts';
import { listVersions, refused, sha256, titleOf, versionFolder } from './names.ts';

export interface StoredModel {
  readonly manifest: StoredManifest;
  readonly modelJson: Buffer;
  readonly weights: Buffer;
}

/**
 * Reads a version and checks all that can be checked without TensorFlow.js: the manifest's schema, the features, and
 * that every byte of the network is the one that was saved.
 * @param expected the features that will be scored; by default those of this version of the code at the model's horizon
 * @throws ForeshadowError MODEL_REFUSED, naming what is wrong; USAGE when name or version is not one
 */
export async function readStored(
  root: string,
  name: string,
  version: string,
  expected?: FeatureSpec,
): Promise<StoredModel> {
  const title = titleOf(name, version);
  const folder = versionFolder(root, name, version);
  const manifest = parseManifest(await readPart(folder, 'manifest.json', title), title);
  checkFeatures(manifest, expected, title);
  const modelJson = await readPart(folder, 'model.json', title);
  const weights = await readPart(folder, 'weights.bin', title);
  const files = [
    ['model.json', modelJson, manifest.files.model_json_sha256],
    ['weights.bin', weights, manifest.files.weights_bin_sha256],
  ] as const;
  for (const [file, bytes, hash] of files) {
    if (sha256(bytes) !== hash)
      throw refused(title, `${file} is damaged: its hash is not the one in the manifest`);
  }
  return { manifest, modelJson, weights };
}

/**
 * What a registry says about one version, without loading the network.
 * @returns null when there is no such version
 * @throws ForeshadowError MODEL_REFUSED when its manifest is damaged
 */
export async function readManifest(
  root: string,
  name: string,
  version: string,
): Promise<StoredManifest | null> {
  // Only what is listed is read: neither name nor version can lead out of the registry.
  if (!(await listVersions(root, name)).includes(version)) return null;
  const title = titleOf(name, version);
  return parseManifest(await readPart(versionFolder(root, name, version), 'manifest.json', title), title);
}

function readPart(folder: string, file: string, title: string): Promise<Buffer> {
  return readFile(join(folder, file)).catch((cause: Error) => {
    throw refused(title, `${file} cannot be read`, cause);
  });
}

function parseManifest(bytes: Buffer, title: string): StoredManifest {
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw refused(title, 'manifest.json is not JSON', cause);
  }
  const schema = (document as { schema?: unknown } | null)?.schema;
  if (schema !== MANIFEST_SCHEMA) {
    throw refused(
      title,
      `its manifest has schema ${JSON.stringify(schema)}; this version reads ${MANIFEST_SCHEMA}`,
    );
  }
  if (Value.Check(StoredManifest, document)) return document;
  const first = [...Value.Errors(StoredManifest, document)][0];
  throw refused(title, `its manifest is not valid: ${first?.instancePath || '/'} ${first?.message ?? ''}`);
}

function checkFeatures(manifest: Manifest, expected: FeatureSpec | undefined, title: string): void {
  const { grouped } = manifest.feature_spec;
  const wanted = featureSpecHash(expected ?? featureSpec(manifest.horizon_seconds, { grouped }));
  const claimed = manifest.feature_spec_hash;
  if (claimed !== featureSpecHash(manifest.feature_spec))
    throw refused(title, 'its feature spec does not match its own hash');
  if (claimed !== wanted) {
    const hashes = `${claimed.slice(0, 12)} and not ${wanted.slice(0, 12)}`;
    throw refused(title, `it was trained on other features: its spec's hash is ${hashes}`);
  }
  if (manifest.half_life.index >= manifest.feature_spec.accessHalfLives.length)
    throw refused(title, 'its half-life is none of its features');
}
