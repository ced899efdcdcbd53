import type { Command } from 'commander';
import { catalogue } from '../core/errors.ts';
import { runDemo } from '../demo/demo.ts';
import { reportText } from '../demo/report.ts';
import { type CommonFlags, interruptible, parseNumber, print, remark, say } from './output.ts';

export function demoCommand(program: Command): Command {
  return program
    .command('demo')
    .description('migrate a live shop of 200,000 orders on a PostgreSQL of its own, and report')
    .option('--rows <n>', 'orders in the shop', parseNumber, 200_000)
    .action(async (flags: CommonFlags & { rows: number }) => {
      const report = await interruptible((signal) =>
        runDemo({ json: flags.json ?? false, rows: flags.rows, signal, onProgress: remark }),
      );
      if (flags.json) print(report);
      else say(reportText(report));
      if (!report.ok) process.exitCode = catalogue.CHECK_RED.exit;
    });
}
