import type { Command } from 'commander';
import { ForeshadowError } from '../core/errors.ts';
import { initSchema } from '../db/migrate.ts';
import { Engine } from '../jobs/engine.ts';
import { type CommonFlags, configOf, interruptible, remark, withContext } from './output.ts';

/** Milliseconds for jobs to reach a safe point. */
const grace = 8000;
/** After a signal the process is gone by then, whatever hangs. */
const deadline = 10_000;

export function workerCommand(program: Command): Command {
  return program
    .command('worker')
    .description(
      'take part in the work on all started migrations, without serving HTTP; any number of them may run',
    )
    .action(async (_flags: CommonFlags, command: Command) => {
      await withContext(command, (ctx) => initSchema(ctx.pool));
      const engine = await Engine.start(configOf(command), { jobs: true });
      remark('foreshadow worker: at work; stop with Ctrl-C or SIGTERM');
      try {
        await interruptible(
          (signal) =>
            new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })),
        );
      } finally {
        setTimeout(() => process.exit(1), deadline).unref(); // a statement that cannot be cut must not hold it
        await engine.stop(grace).catch((error: Error) => {
          throw new ForeshadowError('UNEXPECTED', `the worker did not stop well: ${error.message}`);
        });
      }
    });
}
