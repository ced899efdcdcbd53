import type { Command } from 'commander';
import { initSchema, schemaSql } from '../db/migrate.ts';
import { type CommonFlags, print, say, withContext } from './output.ts';

export function initCommand(program: Command): Command {
  return program
    .command('init')
    .description('create or update the schema foreshadow in the database')
    .option('--dry-run', 'print the SQL instead')
    .action(async (flags: CommonFlags & { dryRun?: boolean }, command: Command) => {
      if (flags.dryRun) {
        const sql = await schemaSql();
        return flags.json ? print({ schema: 1, sql }) : say(sql);
      }
      const result = await withContext(command, (ctx) => initSchema(ctx.pool));
      if (flags.json) print({ schema: 1, ...result });
      else
        say(
          result.from === result.to
            ? `schema foreshadow is at version ${result.to}`
            : `schema foreshadow: version ${result.from} → ${result.to}`,
        );
    });
}
