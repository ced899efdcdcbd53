import cliProgress from 'cli-progress';
import type { Command } from 'commander';
import { readMigrationFile } from '../config/migration-file.ts';
import { ForeshadowError } from '../core/errors.ts';
import { type MigrationStatus, migrationStatuses } from '../core/states.ts';
import { initSchema } from '../db/migrate.ts';
import { type PipelineEvent, runMigration } from '../pipeline.ts';
import { type CommonFlags, interruptible, parseNumber, print, remark, say, withContext } from './output.ts';
import { statusText } from './status.ts';

interface RunFlags extends CommonFlags {
  readonly until?: string;
  readonly takeOver?: boolean;
  readonly stay?: boolean;
  readonly diskFree?: number;
}

export function runCommand(program: Command): Command {
  return program
    .command('run <file>')
    .description('run a whole migration in the foreground; run again to go on after a stop')
    .option('--until <state>', `stop at one of ${migrationStatuses.slice(1, 5).join(', ')}`)
    .option('--take-over', 'take the lanes over from a process that still lives')
    .option('--stay', 'go on after the write cutover, so that a rollback finds the old table in step')
    .option(
      '--disk-free <bytes>',
      "free bytes on the server's disk, if they cannot be seen from here",
      parseNumber,
    )
    .action(async (path: string, flags: RunFlags, command: Command) => {
      const until = flags.until?.toUpperCase() as MigrationStatus | undefined;
      if (until && !migrationStatuses.includes(until))
        throw new ForeshadowError('USAGE', `--until ${flags.until} is no state of a migration`);
      const file = await readMigrationFile(path);
      await withContext(command, async (ctx) => {
        await initSchema(ctx.pool);
        const report = progressReport();
        const status = await interruptible((signal) =>
          runMigration(ctx, file, {
            signal,
            onEvent: report.show,
            ...(until ? { until } : {}),
            ...(flags.takeOver ? { takeOver: true } : {}),
            ...(flags.stay ? { stay: true } : {}),
            ...(flags.diskFree === undefined ? {} : { diskFree: flags.diskFree }),
          }),
        ).finally(report.end);
        if (flags.json) print(status);
        else say(statusText(status));
      });
    });
}

/** A bar on a terminal, otherwise one line for each event; to stderr either way. */
export function progressReport(): { show: (event: PipelineEvent) => void; end: () => void } {
  const bar = process.stderr.isTTY
    ? new cliProgress.SingleBar({
        format: 'copy {bar} {percentage}% | {value}/{total} rows | {rate} rows/s | ETA {left}',
        stream: process.stderr,
      })
    : null;
  let started = false;
  let lastWait = '';
  const show = (event: PipelineEvent) => {
    if (event.type === 'progress') {
      const rate = event.rate === null ? '–' : Math.round(event.rate).toString();
      const left = event.eta_s === null ? '–' : `${Math.round(event.eta_s)} s`;
      if (!bar)
        return remark(
          `copy ${Math.round(event.rows)}/${Math.round(event.total)} rows, ${rate} rows/s, ETA ${left}`,
        );
      if (!started) bar.start(event.total, event.rows, { rate, left });
      started = true;
      bar.setTotal(event.total);
      return bar.update(event.rows, { rate, left });
    }
    if (started) bar?.stop();
    started = false;
    if (event.type === 'status') remark(`→ ${event.status}`);
    if (event.type === 'step') remark(`  ${event.step}`);
    if (event.type === 'reads-cut-over')
      remark(`  reads go to the overlay; ${event.budget} rows in the shadow`);
    if (event.type === 'warning') remark(`  WARNING: ${event.message}`);
    if (event.type === 'wait' && event.reason !== lastWait) {
      lastWait = event.reason;
      remark(`  waiting: ${event.reason}`);
    }
  };
  return { show, end: () => bar?.stop() };
}
