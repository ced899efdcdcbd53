import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoredManifest } from '../manifest.ts';
import type { Predictor } from '../predictor.ts';
import { artifactsOf } from './artifacts.ts';
import { modelCard } from './card.ts';
import { folderOf, listVersions, sha256 } from './names.ts';

/** On the disk before the version appears, or a power cut could leave a version with empty files. */
const durable = { flush: true } as const;

/**
 * Saves a predictor as the next version of a model: `root/name/0001/{model.json, weights.bin, manifest.json, card.md}`.
 * A version appears complete or not at all, and no two savers get the same one.
 * @param options.reproduce for the card: commands that make this model again; by default `foreshadow train`
 * @returns the version and its folder
 * @throws ForeshadowError USAGE when the name is not one
 */
export async function saveModel(
  root: string,
  name: string,
  predictor: Predictor,
  options: { readonly reproduce?: string } = {},
): Promise<{ version: string; path: string; manifest: StoredManifest }> {
  const folder = folderOf(root, name);
  await mkdir(folder, { recursive: true });
  const { modelJson, weights } = await artifactsOf(predictor);
  const manifest: StoredManifest = {
    ...predictor.manifest,
    files: { model_json_sha256: sha256(modelJson), weights_bin_sha256: sha256(weights) },
  };
  // Not mkdtemp, whose folders only their maker may enter: a service may run as somebody else.
  const draft = join(folder, `.draft-${randomUUID()}`);
  await mkdir(draft);
  try {
    await writeFile(join(draft, 'model.json'), modelJson, durable);
    await writeFile(join(draft, 'weights.bin'), weights, durable);
    await writeFile(join(draft, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`, durable);
    for (;;) {
      const latest = Number((await listVersions(root, name)).at(-1) ?? 0);
      const version = String(latest + 1).padStart(4, '0');
      await writeFile(join(draft, 'card.md'), modelCard({ name, version, manifest, ...options }), durable);
      const path = join(folder, version);
      // Renaming onto a folder that another process has just filled fails: then the number after it is ours.
      if (await renamed(draft, path)) return { version, path, manifest };
    }
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
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
