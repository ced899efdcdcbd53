import type { Command } from 'commander';
import { readMigrationFile } from '../config/migration-file.ts';
import { initSchema } from '../db/migrate.ts';
import { describeMigration } from '../migration/status.ts';
import { startMigration } from '../pipeline.ts';
import { type CommonFlags, print, say, withContext } from './output.ts';

export function startCommand(program: Command): Command {
  return program
    .command('start <file>')
    .description('hand a migration over to the job runner of the service (serve, worker)')
    .action(async (path: string, flags: CommonFlags, command: Command) => {
      const file = await readMigrationFile(path);
      await withContext(command, async (ctx) => {
        await initSchema(ctx.pool);
        await startMigration(ctx, file);
        const status = await describeMigration(ctx.pool, file.name);
        if (flags.json) print(status);
        else if (status.status === 'PAUSED' || status.status === 'FAILED')
          say(`migration ${file.name} is ${status.status}; go on with: foreshadow resume ${file.name}`);
        else say(`migration ${file.name} is ${status.status}; a running serve or worker takes it from here`);
      });
    });
}
