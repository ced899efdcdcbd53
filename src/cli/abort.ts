import type { Command } from 'commander';
import { requireSchema } from '../db/migrate.ts';
import { abort } from '../migration/abort.ts';
import { describeMigration } from '../migration/status.ts';
import { type CommonFlags, parseNumber, print, say, withContext } from './output.ts';

export function abortCommand(program: Command): Command {
  return program
    .command('abort <name>')
    .description('before the write cutover: put everything back as it was')
    .option(
      '--grace <seconds>',
      'how long readers of the overlay have to hear of the route back',
      parseNumber,
      2,
    )
    .action(async (name: string, flags: CommonFlags & { grace: number }, command: Command) => {
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        await abort(ctx.pool, name, { clock: ctx.clock, grace: flags.grace });
        if (flags.json) print(await describeMigration(ctx.pool, name));
        else say(`migration ${name} is aborted; the source was not changed, the target is empty again`);
      });
    });
}
