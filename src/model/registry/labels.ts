import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import { ForeshadowError } from '../../core/errors.ts';
import { withLock } from './lock.ts';
import { folderOf, listVersions, refused, titleOf } from './names.ts';
import { readStored } from './stored.ts';

/** `stable` is what migrations use instead of the newest version; `canary` is for whoever asks for it by name. */
export const labelNames = ['stable', 'canary'] as const;
export type LabelName = (typeof labelNames)[number];

/** Version that carries a label; absent when none does. */
export type Labels = { readonly [name in LabelName]?: string };

const version = Type.String({ pattern: '^[0-9]{4,9}$' });
const LabelsFile = Type.Object({
  schema: Type.Literal(1),
  labels: Type.Partial(Type.Object({ stable: version, canary: version })),
  /** what was stable before, oldest first: where a rollback goes */
  before: Type.Array(version),
});
type LabelsFile = Static<typeof LabelsFile>;

/** Promotions that can be taken back. */
const MOST_BEFORE = 50;

/** @throws ForeshadowError MODEL_REFUSED when labels.json is damaged; USAGE when the name is not one */
export async function readLabels(root: string, name: string): Promise<Labels> {
  return (await readLabelsFile(root, name)).labels;
}

export const isLabel = (text: string): text is LabelName => (labelNames as readonly string[]).includes(text);

/**
 * The version that is meant: one that is told as it is, one that a label names, or without either the stable one, or
 * else the newest.
 * @returns undefined when there is none
 */
export async function resolveVersion(
  root: string,
  name: string,
  wanted?: string,
): Promise<string | undefined> {
  if (wanted !== undefined && !isLabel(wanted)) return wanted;
  const labels = await readLabels(root, name);
  if (wanted !== undefined) return labels[wanted];
  return labels.stable ?? (await listVersions(root, name)).at(-1);
}

/**
 * Puts a label on a version, once all of it is found to be in order.
 * @param wanted a version, or a label that it has by now
 * @throws ForeshadowError MODEL_REFUSED when the version cannot be loaded by this version of the code
 */
export async function promote(
  root: string,
  name: string,
  wanted: string,
  label: LabelName = 'stable',
): Promise<Labels> {
  const version = await resolveVersion(root, name, wanted);
  if (version === undefined)
    throw refused(titleOf(name), `there is no version labelled ${wanted} in ${root}`);
  await readStored(root, name, version);
  return changeLabels(root, name, ({ labels, before }) => {
    const was = labels.stable;
    const moved = label === 'stable' && was !== undefined && was !== version;
    return {
      labels: { ...labels, [label]: version },
      before: moved ? [...before, was].slice(-MOST_BEFORE) : before,
    };
  });
}

/**
 * Makes the version stable that was so before the last promotion; without a promotion the one before the version in
 * use. What is broken by now is passed over.
 * @returns where it was and where it is now
 * @throws ForeshadowError USAGE when there is no version to go back to
 */
export async function rollback(root: string, name: string): Promise<{ from: string; to: string }> {
  let done: { from: string; to: string } | undefined;
  await changeLabels(root, name, async ({ labels, before }) => {
    const versions = await listVersions(root, name);
    const from = labels.stable ?? versions.at(-1);
    if (from === undefined) throw refused(titleOf(name), `there is no version of it in ${root}`);
    const left = before.length ? [...before] : versions.filter((one) => Number(one) < Number(from));
    const remembered = before.length > 0;
    for (let to = left.pop(); to !== undefined; to = left.pop()) {
      if (to === from || !(await isSound(root, name, to))) continue;
      done = { from, to };
      return { labels: { ...labels, stable: to }, before: remembered ? left : [] };
    }
    const message = `there is no version of model ${name} before ${from} to go back to`;
    throw new ForeshadowError('USAGE', message, { model: name, version: from });
  });
  return done!;
}

/** Takes a label away. Without `stable` migrations use the newest version again. */
export function unlabel(root: string, name: string, label: LabelName = 'stable'): Promise<Labels> {
  return changeLabels(root, name, ({ labels, before }) => {
    const { [label]: _, ...rest } = labels;
    return { labels: rest, before: label === 'stable' ? [] : before };
  });
}

async function isSound(root: string, name: string, version: string): Promise<boolean> {
  try {
    await readStored(root, name, version);
    return true;
  } catch (error) {
    if (error instanceof ForeshadowError && error.code === 'MODEL_REFUSED') return false;
    throw error;
  }
}

async function readLabelsFile(root: string, name: string): Promise<LabelsFile> {
  let text: string;
  try {
    text = await readFile(join(folderOf(root, name), 'labels.json'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { schema: 1, labels: {}, before: [] };
    throw error;
  }
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw refused(titleOf(name), 'labels.json is not JSON', cause);
  }
  if (Value.Check(LabelsFile, document)) return document;
  throw refused(titleOf(name), 'labels.json is not valid');
}

type Change = Pick<LabelsFile, 'labels' | 'before'>;

/** Reads, changes and writes the labels while nobody else does; a reader sees the old ones or the new ones. */
async function changeLabels(
  root: string,
  name: string,
  change: (file: LabelsFile) => Change | Promise<Change>,
): Promise<Labels> {
  const folder = folderOf(root, name);
  if (!(await listVersions(root, name)).length)
    throw refused(titleOf(name), `there is no version of it in ${root}`);
  return withLock(join(folder, '.labels.lock'), async (stillMine) => {
    const { labels, before } = await change(await readLabelsFile(root, name));
    const draft = join(folder, `.labels-${randomUUID()}.json`);
    try {
      await writeFile(draft, `${JSON.stringify({ schema: 1, labels, before }, null, 2)}\n`, { flush: true });
      await stillMine();
      await rename(draft, join(folder, 'labels.json'));
    } finally {
      await rm(draft, { force: true });
    }
    return labels;
  });
}
