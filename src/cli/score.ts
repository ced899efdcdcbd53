import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { ForeshadowError } from '../core/errors.ts';
import { requireSchema } from '../db/migrate.ts';
import { getMigration } from '../migration/status.store.ts';
import { loadModel, resolveVersion } from '../model/index.ts';
import { Live } from '../pipeline/live.ts';
import { scoreKeys } from '../pipeline/scoring.ts';
import { specOf } from '../pipeline/world.ts';
import { type CommonFlags, print, say, table, withContext } from './output.ts';

export function scoreCommand(program: Command): Command {
  return program
    .command('score <name>')
    .description('how soon rows will be needed, by the model of a migration and its query log')
    .requiredOption('--keys <file>', 'one key a line; composite keys as JSON arrays of strings')
    .option('--model-version <version>', 'a version or a label; the stable one, else the newest, when absent')
    .action(
      async (
        name: string,
        flags: CommonFlags & { keys: string; modelVersion?: string },
        command: Command,
      ) => {
        const keys = await readKeys(flags.keys);
        await withContext(command, async (ctx) => {
          await requireSchema(ctx.pool);
          const migration = await getMigration(ctx.pool, name);
          const { modelsDir } = ctx.config;
          const version = await resolveVersion(modelsDir, name, flags.modelVersion);
          const live = new Live(ctx, {
            version,
            predictor: await loadModel(modelsDir, name, version, specOf(migration)),
          });
          try {
            const observation = await live.catchUp(migration);
            const asOf = ctx.clock.now();
            const found = await scoreKeys(live, migration, keys, asOf);
            const scores = keys.map((key, i) => ({
              key,
              score: found.score[i],
              accesses: found.accesses[i],
              changes: found.changes[i],
              known: found.known[i],
            }));
            const { model } = found;
            if (flags.json)
              print({ schema: 1, model, as_of: asOf, features_until: observation.until, scores });
            else
              say(
                table([
                  ['key', 'score', 'accesses', 'changes', ''],
                  ...scores.map((s) => [
                    s.key,
                    fixed(s.score),
                    fixed(s.accesses),
                    fixed(s.changes),
                    s.known ? '' : 'never seen',
                  ]),
                ]),
              );
          } finally {
            live.dispose();
          }
        });
      },
    );
}

const fixed = (value: number | undefined) => (value ?? 0).toFixed(4);

async function readKeys(path: string): Promise<string[]> {
  try {
    return (await readFile(path, 'utf8'))
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '');
  } catch (cause) {
    throw new ForeshadowError(
      'USAGE',
      `cannot read the keys in ${path}: ${(cause as Error).message}`,
      {},
      { cause },
    );
  }
}
