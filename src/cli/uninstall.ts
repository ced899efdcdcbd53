import type { Command } from 'commander';
import { uninstall } from '../migration/abort.ts';
import { type CommonFlags, parseNumber, print, say, withContext } from './output.ts';

export function uninstallCommand(program: Command): Command {
  return program
    .command('uninstall')
    .description('abort what runs and remove everything of foreshadow from the database')
    .option('--drop-old-tables', 'drop the old tables of completed migrations too')
    .option(
      '--grace <seconds>',
      'how long readers of an overlay have to hear of the route back',
      parseNumber,
      2,
    )
    .action(async (flags: CommonFlags & { dropOldTables?: boolean; grace: number }, command: Command) => {
      await withContext(command, async (ctx) => {
        const result = await uninstall(ctx.pool, {
          clock: ctx.clock,
          grace: flags.grace,
          dropOldTables: flags.dropOldTables ?? false,
        });
        if (flags.json) print({ schema: 1, ...result });
        else
          say(
            result.dropped.length
              ? `removed: ${result.dropped.join(', ')}${result.aborted.length ? `; aborted: ${result.aborted.join(', ')}` : ''}`
              : 'nothing of foreshadow is here',
          );
      });
    });
}
