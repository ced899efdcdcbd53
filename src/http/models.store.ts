import { readManifest, resolveVersion, type StoredManifest } from '../model/index.ts';

/**
 * What a registry says about one version, or the one that carries a label, without loading the network.
 * @returns null when there is no such version
 * @throws ForeshadowError MODEL_REFUSED when its manifest is damaged
 */
export async function describeVersion(
  root: string,
  name: string,
  wanted: string,
): Promise<{ version: string; manifest: StoredManifest } | null> {
  const version = await resolveVersion(root, name, wanted);
  const manifest = version === undefined ? null : await readManifest(root, name, version);
  return version === undefined || manifest === null ? null : { version, manifest };
}
