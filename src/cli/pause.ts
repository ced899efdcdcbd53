import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { requireSchema } from '../db/migrate.ts';
import { pauseMigration, resumeMigration } from '../migration/orders.ts';
import { describeMigration } from '../migration/status.ts';
import { type CommonFlags, print, say, withContext } from './output.ts';

export function pauseCommand(program: Command): Command {
  return program
    .command('pause <name>')
    .description('stop all work on a migration at the next safe point; nothing is lost meanwhile')
    .action(async (name: string, flags: CommonFlags, command: Command) => {
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        await pauseMigration(ctx.pool, name, userInfo().username);
        if (flags.json) print(await describeMigration(ctx.pool, name));
        else say(`migration ${name} is paused; go on with: foreshadow resume ${name}`);
      });
    });
}

export function resumeCommand(program: Command): Command {
  return program
    .command('resume <name>')
    .description('let a paused or failed migration go on from the state that it was in')
    .action(async (name: string, flags: CommonFlags, command: Command) => {
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        const { managed, status } = await resumeMigration(ctx.pool, name);
        if (flags.json) print(await describeMigration(ctx.pool, name));
        else
          say(
            managed
              ? `migration ${name} is ${status} again; the job runner goes on`
              : `migration ${name} is ${status} again; go on with: foreshadow run FILE`,
          );
      });
    });
}
