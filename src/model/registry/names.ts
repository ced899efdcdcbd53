import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ForeshadowError } from '../../core/errors.ts';

const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const VERSION = /^[0-9]{4,9}$/;

/** Folder of a model. @throws ForeshadowError USAGE: a name becomes a folder, so it must not be able to leave the registry */
export function folderOf(root: string, name: string): string {
  if (!NAME.test(name)) {
    throw new ForeshadowError('USAGE', `a model name is 1–64 of a–z, 0–9, _ and -, not ${quoted(name)}`);
  }
  return join(root, name);
}

/** Folder of a version. @throws ForeshadowError USAGE when name or version is not one */
export function versionFolder(root: string, name: string, version: string): string {
  const folder = folderOf(root, name);
  if (!VERSION.test(version)) {
    throw new ForeshadowError('USAGE', `${quoted(version)} is not a version, such as 0001`);
  }
  return join(folder, version);
}

/** Versions of a model, oldest first; none when there is no such model. @throws ForeshadowError USAGE */
export async function listVersions(root: string, name: string): Promise<string[]> {
  const entries = await foldersIn(folderOf(root, name));
  return entries.filter((entry) => VERSION.test(entry)).sort((a, b) => Number(a) - Number(b));
}

/** Names of all models in a registry, sorted; none when there is no registry. */
export async function listModels(root: string): Promise<string[]> {
  return (await foldersIn(root)).filter((entry) => NAME.test(entry)).sort();
}

async function foldersIn(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

export const sha256 = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** How messages name a version. */
export const titleOf = (name: string, version?: string): string =>
  `model ${name}${version === undefined ? '' : `/${version}`}`;

/** @param title see {@link titleOf} */
export function refused(title: string, why: string, cause?: unknown): ForeshadowError {
  const options = cause === undefined ? {} : { cause };
  return new ForeshadowError('MODEL_REFUSED', `${title} is refused: ${why}`, { model: title }, options);
}

/** For messages: what somebody sent may hold line breaks and have any length. */
const quoted = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
