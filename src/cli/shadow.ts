import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { ForeshadowError } from '../core/errors.ts';
import { requireSchema } from '../db/migrate.ts';
import { resizeShadow } from '../migration/shadow-size.store.ts';
import { describeMigration } from '../migration/status.ts';
import { type CommonFlags, parseNumber, print, say, withContext } from './output.ts';

export function shadowCommand(program: Command): Command {
  return program
    .command('shadow <name>')
    .description('change the size of the shadow while it is kept; confidence is measured anew')
    .option('--fraction <share>', 'share of the rows that it is to hold, such as 0.15', parseNumber)
    .action(async (name: string, flags: CommonFlags & { fraction?: number }, command: Command) => {
      const { fraction } = flags;
      if (fraction === undefined) throw new ForeshadowError('USAGE', 'say --fraction');
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        const { status } = await resizeShadow(ctx.pool, name, fraction, userInfo().username);
        if (flags.json) print(await describeMigration(ctx.pool, name));
        else say(`migration ${name} is ${status}; its shadow is to hold ${100 * fraction} % of the rows`);
      });
    });
}
