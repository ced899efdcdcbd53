import type { Command } from 'commander';
import { ForeshadowError } from '../core/errors.ts';
import { requireSchema } from '../db/migrate.ts';
import { getMigration } from '../migration/status.store.ts';
import { requireEqual, verify } from '../migration/verify.ts';
import { type CommonFlags, print, say, withContext } from './output.ts';

export function verifyCommand(program: Command): Command {
  return program
    .command('verify <name>')
    .description('compare every row of the copied target with the mapped source, both ways, changing nothing')
    .action(async (name: string, flags: CommonFlags, command: Command) => {
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        const migration = await getMigration(ctx.pool, name);
        if (migration.status !== 'IN_PROGRESS' || migration.phase === 'copy') {
          const message = `migration ${name} is ${migration.status}${migration.phase === 'copy' ? ', still copying' : ''}; only a complete copy that writes have not left yet can be compared`;
          throw new ForeshadowError('CONFLICT', message);
        }
        const result = await verify(ctx.pool, migration.plan, { clock: ctx.clock, repair: false });
        // Before the result: with --json there is one document, and the error's detail holds the keys.
        requireEqual(migration.plan, result);
        if (flags.json) print({ schema: 1, name, ...result });
        else
          say(
            `${result.compared} rows compared: ${result.missing} missing, ${result.extra} extra, ${result.different} different`,
          );
      });
    });
}
