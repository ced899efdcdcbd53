import type { Command } from 'commander';
import { requireSchema } from '../db/migrate.ts';
import { describeMigration } from '../migration/status.ts';
import { finalizeMigration } from '../pipeline.ts';
import { type CommonFlags, interruptible, print, say, withContext } from './output.ts';
import { progressReport } from './run.ts';

export function finalizeCommand(program: Command): Command {
  return program
    .command('finalize <name>')
    .description('end the time in which the write cutover can be rolled back')
    .option('--drop-old', 'drop the old table too; it is kept otherwise')
    .action(async (name: string, flags: CommonFlags & { dropOld?: boolean }, command: Command) => {
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        const report = progressReport();
        const { kept, dropped } = await interruptible((signal) =>
          finalizeMigration(ctx, name, { dropOld: flags.dropOld === true, signal, onEvent: report.show }),
        ).finally(report.end);
        if (flags.json) return print({ ...(await describeMigration(ctx.pool, name)), kept, dropped });
        const old = dropped
          ? `the old table ${dropped} is dropped`
          : kept
            ? `the old table is still there as ${kept}; drop it with: foreshadow finalize ${name} --drop-old`
            : 'the old table is gone already';
        say(`migration ${name} is finalized; ${old}`);
      });
    });
}
