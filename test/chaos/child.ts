import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterFile } from '../support/database.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface Child {
  readonly process: ChildProcess;
  /** what it has written so far */
  readonly output: { stdout: string; stderr: string };
  /** exit code, or null when a signal ended it */
  readonly ended: Promise<number | null>;
}

/** Any program, ended at the latest with the test file. */
export function start(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Child {
  const process_ = spawn(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    process_[stream].on('data', (chunk: Buffer) => {
      output[stream] += chunk.toString();
    });
  }
  const ended = once(process_, 'close').then(([code]) => code as number | null);
  afterFile(async () => {
    // a stopped process takes no other signal
    if (process_.exitCode === null && process_.signalCode === null) process_.kill('SIGKILL');
    await ended;
  });
  return { process: process_, output, ended };
}

/** The command line, from its source, as a process of its own. */
export function foreshadow(url: string, models: string, ...args: string[]): Child {
  return start(process.execPath, ['--import', 'tsx', main, ...args], {
    DATABASE_URL: url,
    FORESHADOW_MODELS: models,
    FORESHADOW_LOG_LEVEL: 'error',
  });
}
