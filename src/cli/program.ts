import { Command, CommanderError } from 'commander';
import { ForeshadowError } from '../core/errors.ts';
import { codeOf, isConnectionError, sqlstate } from '../db/sqlstate.ts';
import { abortCommand } from './abort.ts';
import { backtestCommand } from './backtest.ts';
import { cutoverCommand } from './cutover.ts';
import { demoCommand } from './demo.ts';
import { doctorCommand } from './doctor.ts';
import { explainCommand } from './explain.ts';
import { finalizeCommand } from './finalize.ts';
import { initCommand } from './init.ts';
import { learnCommand } from './learn.ts';
import { modelsCommand } from './models.ts';
import { describeError, print } from './output.ts';
import { pauseCommand, resumeCommand } from './pause.ts';
import { rollbackCommand } from './rollback.ts';
import { runCommand } from './run.ts';
import { scoreCommand } from './score.ts';
import { serveCommand } from './serve.ts';
import { shadowCommand } from './shadow.ts';
import { startCommand } from './start.ts';
import { statusCommand } from './status.ts';
import { throttleCommand } from './throttle.ts';
import { trainCommand } from './train.ts';
import { uninstallCommand } from './uninstall.ts';
import { verifyCommand } from './verify.ts';
import { workerCommand } from './worker.ts';

/** Builds the whole command line: one file a verb. */
export function createProgram(): Command {
  const program = new Command('foreshadow')
    .description(
      'Moves a live PostgreSQL table into a new format, knowing in advance which rows are needed next.',
    )
    .option('--database-url <url>', 'the database; DATABASE_URL and PG* variables when absent')
    .option('--models <dir>', 'folder of the model registry (FORESHADOW_MODELS, or ./models)')
    .option(
      '--log-level <level>',
      'silent, error, warn, info or debug, to stderr (FORESHADOW_LOG_LEVEL, or warn; serve: info)',
    )
    .showHelpAfterError('(run with --help to see what it takes)')
    .configureOutput({ writeErr: (text) => void process.stderr.write(text) })
    .exitOverride();
  for (const add of [
    demoCommand,
    doctorCommand,
    initCommand,
    runCommand,
    startCommand,
    statusCommand,
    explainCommand,
    pauseCommand,
    resumeCommand,
    throttleCommand,
    shadowCommand,
    cutoverCommand,
    verifyCommand,
    abortCommand,
    rollbackCommand,
    finalizeCommand,
    learnCommand,
    trainCommand,
    scoreCommand,
    backtestCommand,
    modelsCommand,
    serveCommand,
    workerCommand,
    uninstallCommand,
  ]) {
    const command = add(program);
    command.exitOverride().option('--json', 'print exactly one JSON document to stdout');
  }
  return program;
}

/** Parses and runs. Errors are printed here, once: as text to stderr, or as one JSON document with --json. */
export async function run(argv: readonly string[]): Promise<{ exitCode: number }> {
  const program = createProgram();
  try {
    await program.parseAsync(argv as string[]);
    return { exitCode: Number(process.exitCode ?? 0) };
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return { exitCode: 0 }; // help that was asked for
      // Commander has said what is wrong, to stderr.
      const message =
        error.code === 'commander.help' ? 'a command is missing' : error.message.replace(/^error: /, '');
      if (argv.includes('--json'))
        print({ schema: 1, error: describeError(new ForeshadowError('USAGE', message)) });
      return { exitCode: 2 };
    }
    const known = knownError(error);
    if (argv.includes('--json')) print({ schema: 1, error: describeError(known ?? error) });
    process.stderr.write(
      known
        ? `foreshadow: ${known.message}\n  ${known.hint}\n`
        : `foreshadow: ${(error as Error).stack ?? String(error)}\n`,
    );
    return { exitCode: known?.exitCode ?? 1 };
  }
}

/** What the server itself refuses, and a connection that is lost on the way, have their place in the catalogue too. */
function knownError(error: unknown): ForeshadowError | null {
  if (error instanceof ForeshadowError) return error;
  const { message } = error as Error;
  if (codeOf(error) === sqlstate.insufficientPrivilege)
    return new ForeshadowError('PRIVILEGE', message, {}, { cause: error });
  if (isConnectionError(error))
    return new ForeshadowError(
      'DATABASE_UNREACHABLE',
      `the connection was lost: ${message}`,
      {},
      { cause: error },
    );
  return null;
}
