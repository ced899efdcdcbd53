import type { Command } from 'commander';
import { ForeshadowError } from '../core/errors.ts';
import { keyId } from '../core/key.ts';
import { requireSchema } from '../db/migrate.ts';
import { getMigration } from '../migration/status.store.ts';
import { explainMember } from '../shadow/explain.queries.ts';
import { type CommonFlags, print, say, table, withContext } from './output.ts';

export function explainCommand(program: Command): Command {
  return program
    .command('explain <name> <key...>')
    .description('why a row is in the shadow, or is not; one argument for each key column')
    .action(async (name: string, key: string[], flags: CommonFlags, command: Command) => {
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        const migration = await getMigration(ctx.pool, name);
        if (!migration.physical)
          throw new ForeshadowError('CONFLICT', `migration ${name} has not begun; there is no shadow yet`);
        const found = await explainMember(ctx.pool, migration.plan, key);
        const document = { schema: 1, name, key: keyId(key), ...found };
        if (flags.json) print(document);
        else {
          say(
            table([
              ['key', keyId(key)],
              ['in the source', found.in_source ? 'yes' : 'no'],
              ['in the target', found.in_target ? 'yes' : 'no'],
              ['why', found.because],
              ['u', `${found.u?.toFixed(6) ?? '–'} (random rows have u < ${found.pi0.toFixed(6)})`],
              ['stratum', found.stratum ?? '–'],
              ['probability', found.probability?.toFixed(6) ?? '–'],
              ['changes waiting', String(found.pending)],
            ]),
          );
        }
      });
    });
}
