import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { seconds } from '../config/migration-file.ts';
import { ForeshadowError } from '../core/errors.ts';
import { requireSchema } from '../db/migrate.ts';
import { featureSpec } from '../features/spec.ts';
import { getMigration } from '../migration/status.store.ts';
import { loadModel } from '../model/index.ts';
import { Observation } from '../pipeline/observation.ts';
import { type CommonFlags, print, say, table, withContext } from './output.ts';

export function scoreCommand(program: Command): Command {
  return program
    .command('score <name>')
    .description('how soon rows will be needed, by the newest model of a migration and its query log')
    .requiredOption('--keys <file>', 'one key a line; composite keys as JSON arrays of strings')
    .option('--model-version <version>', 'another version than the newest')
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
          const spec = featureSpec(seconds(migration.definition.predict.horizon));
          const predictor = await loadModel(ctx.config.modelsDir, name, flags.modelVersion, spec);
          try {
            const observation = await Observation.open(ctx, migration);
            await observation.poll();
            const asOf = ctx.clock.now();
            const all = await predictor.score(observation.engine, asOf);
            const unknown = predictor.scoreUnknown();
            const scores = keys.map((key) => {
              const slot = observation.engine.slotOf(key);
              if (slot === undefined) return { key, ...unknown, known: false };
              return {
                key,
                score: all.score[slot],
                accesses: all.accesses[slot],
                changes: all.changes[slot],
                known: true,
              };
            });
            const { predictor: kind, training } = predictor.manifest;
            if (flags.json)
              print({
                schema: 1,
                model: { name, predictor: kind, trained_until: training.until },
                as_of: asOf,
                scores,
              });
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
            predictor.dispose();
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
