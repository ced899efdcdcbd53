import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { requireSchema } from '../db/migrate.ts';
import { describeMigration } from '../migration/status.ts';
import { rollBackMigration } from '../pipeline.ts';
import { terminateBlockers } from './cutover.ts';
import { type CommonFlags, interruptible, parseNumber, print, say, withContext } from './output.ts';
import { progressReport } from './run.ts';

export function rollbackCommand(program: Command): Command {
  return program
    .command('rollback <name>')
    .description('take the write cutover back: the old table takes its place again, with every change')
    .option('--attempts <n>', 'how often to try for the lock before giving up', parseNumber, 60)
    .option('--terminate-blockers', terminateBlockers)
    .action(
      async (
        name: string,
        flags: CommonFlags & { attempts: number; terminateBlockers?: boolean },
        command: Command,
      ) => {
        await withContext(command, async (ctx) => {
          await requireSchema(ctx.pool);
          const report = progressReport();
          await interruptible((signal) =>
            rollBackMigration(ctx, name, {
              attempts: flags.attempts,
              signal,
              onEvent: report.show,
              ...(flags.terminateBlockers ? { terminateFor: userInfo().username } : {}),
            }),
          ).finally(report.end);
          const status = await describeMigration(ctx.pool, name);
          if (flags.json) print(status);
          else
            say(
              `migration ${name} is rolled back: the application uses the old table again, with all that was written since. The target has its own name again, and keeps its rows.`,
            );
        });
      },
    );
}
