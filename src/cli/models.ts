import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { ForeshadowError } from '../core/errors.ts';
import {
  type LabelName,
  labelNames,
  listModels,
  listVersions,
  modelCard,
  promote,
  readLabels,
  readManifest,
  resolveVersion,
  rollback,
  type StoredManifest,
  unlabel,
  versionFolder,
} from '../model/index.ts';
import { type CommonFlags, configOf, print, say, table } from './output.ts';

interface LabelFlags extends CommonFlags {
  readonly label: LabelName;
}

/** The registry: which versions there are, what is known of them, and which one migrations use. */
export function modelsCommand(program: Command): Command {
  const models = program
    .command('models')
    .description('trained models: list, show, promote a version, roll back');
  const label = () =>
    new Option('--label <label>', 'which label').choices(labelNames).default('stable' as const);
  const add = (usage: string, description: string) => models.command(usage).description(description);
  const subcommands = [
    add('list', 'all models, with their versions and labels').action(
      action((root, json) => listed(root, json)),
    ),
    add('show <model>', 'the card of NAME, NAME/VERSION or NAME/LABEL').action(
      action((root, json, [model = '']) => shown(root, json, model)),
    ),
    add('promote <name> <version>', 'make a version the one that is used, whatever is trained later')
      .addOption(label())
      .action(
        action(async (root, json, [name = '', version = ''], flags) => {
          const labels = await promote(root, name, version, flags.label);
          report(json, { name, labels }, `${name}/${version} is ${flags.label} now`);
        }),
      ),
    add('rollback <name>', 'go back to what was stable before').action(
      action(async (root, json, [name = '']) => {
        const { from, to } = await rollback(root, name);
        report(
          json,
          { name, from, to, labels: await readLabels(root, name) },
          `${name}/${to} is stable now; it was ${from}`,
        );
      }),
    ),
    add('unlabel <name>', 'take a label away; without stable the newest version is used')
      .addOption(label())
      .action(
        action(async (root, json, [name = ''], flags) => {
          const labels = await unlabel(root, name, flags.label);
          report(json, { name, labels }, `no version of ${name} is ${flags.label} now`);
        }),
      ),
  ];
  for (const subcommand of subcommands) {
    subcommand.exitOverride().option('--json', 'print exactly one JSON document to stdout');
  }
  return models;
}

type Body = (root: string, json: boolean, args: readonly string[], flags: LabelFlags) => Promise<void>;

/** Commander hands over the arguments, the flags and the command, one after another. */
function action(body: Body): (...all: unknown[]) => Promise<void> {
  return async (...all) => {
    const command = all.at(-1) as Command;
    const flags = command.optsWithGlobals<LabelFlags>();
    await body(configOf(command).modelsDir, flags.json === true, command.args, flags);
  };
}

function report(json: boolean, document: object, text: string): void {
  if (json) print({ schema: 1, ...document });
  else say(text);
}

async function listed(root: string, json: boolean): Promise<void> {
  const models = await Promise.all((await listModels(root)).map((name) => summaryOf(root, name)));
  const found = models.filter((model) => model.versions.length > 0);
  if (json) return print({ schema: 1, models: found });
  if (!found.length) return say(`no models in ${root}`);
  const rows = found.map(({ name, versions, labels, in_use, predictor, created_at, problem }) => [
    name,
    String(versions.length),
    versions.at(-1) ?? '–',
    labels.stable ?? '–',
    labels.canary ?? '–',
    in_use ?? '–',
    problem ?? `${predictor}, trained ${created_at}`,
  ]);
  say(table([['model', 'versions', 'newest', 'stable', 'canary', 'in use', ''], ...rows]));
}

/** One damaged model must not hide the others. */
async function summaryOf(root: string, name: string) {
  const versions = await listVersions(root, name);
  try {
    const labels = await readLabels(root, name);
    const inUse = await resolveVersion(root, name);
    const manifest = inUse === undefined ? null : await readManifest(root, name, inUse);
    const problem = versions.length && !manifest ? `version ${inUse} is missing` : null;
    return { name, versions, labels, in_use: inUse ?? null, ...kindOf(manifest), problem };
  } catch (error) {
    if (!(error instanceof ForeshadowError)) throw error;
    return { name, versions, labels: {}, in_use: null, ...kindOf(null), problem: error.message };
  }
}

const kindOf = (manifest: StoredManifest | null) => ({
  predictor: manifest?.predictor ?? null,
  created_at: manifest?.created_at ?? null,
});

async function shown(root: string, json: boolean, model: string): Promise<void> {
  const [name = '', wanted, ...rest] = model.split('/');
  if (rest.length) throw new ForeshadowError('USAGE', `a model is NAME or NAME/VERSION, not "${model}"`);
  const versions = await listVersions(root, name);
  const version = await resolveVersion(root, name, wanted);
  const manifest = version === undefined ? null : await readManifest(root, name, version);
  if (version === undefined || !manifest)
    throw new ForeshadowError('MODEL_REFUSED', `there is no model ${model} in ${root}`, { model });
  if (json) {
    const labels = await readLabels(root, name);
    return print({ schema: 1, name, version, labels, versions, manifest });
  }
  const folder = versionFolder(root, name, version);
  // Versions that were saved before there were cards have the same manifest.
  const card = await readFile(join(folder, 'card.md'), 'utf8').catch(() =>
    modelCard({ name, version, manifest }),
  );
  say(card.trimEnd());
}
