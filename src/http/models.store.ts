import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Value from 'typebox/value';
import { ForeshadowError } from '../core/errors.ts';
import { listVersions, StoredManifest } from '../model/index.ts';

/**
 * What a registry says about one version, without loading the model.
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
  const refused = (cause?: unknown) =>
    new ForeshadowError(
      'MODEL_REFUSED',
      `the manifest of model ${name}/${version} is damaged`,
      {},
      { cause },
    );
  let manifest: unknown;
  try {
    manifest = JSON.parse(await readFile(join(root, name, version, 'manifest.json'), 'utf8'));
  } catch (cause) {
    throw refused(cause);
  }
  if (!Value.Check(StoredManifest, manifest)) throw refused();
  return manifest;
}
