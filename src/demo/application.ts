import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { ApplicationSummary, FromApplication, Tally, ToApplication } from './messages.ts';

/** Longer than any drain and audit take. */
const stopTimeoutMs = 60_000;

/** The demo's application as its parent sees it. */
export class Application {
  private readonly child: ChildProcess;
  private latest: Tally = { reads: 0, writes: 0, retries: 0, errors: 0, stale: 0, waiting: 0 };

  private constructor(child: ChildProcess) {
    this.child = child;
  }

  /** Forks the process and returns when it is at work. @throws Error when it fails to get there */
  static async start(options: Omit<Extract<ToApplication, { type: 'start' }>, 'type'>): Promise<Application> {
    const { file, execArgv } = entry();
    const child = fork(file, [], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'].map((x) => (x === 'inherit' ? 2 : x)) as never,
      ...(execArgv ? { execArgv } : {}),
    });
    const application = new Application(child);
    child.on('message', (message: FromApplication) => {
      if (message.type === 'beat') application.latest = message;
    });
    try {
      child.send({ type: 'start', ...options } satisfies ToApplication);
      await application.hear('running', stopTimeoutMs);
      return application;
    } catch (error) {
      await application.kill();
      throw error;
    }
  }

  /** As of the last second. */
  get tally(): Tally {
    return this.latest;
  }

  /** Lets it finish and audit, and ends it. */
  async stop(): Promise<ApplicationSummary> {
    const summary = this.hear('summary', stopTimeoutMs);
    this.child.send({ type: 'stop' } satisfies ToApplication);
    try {
      return (await summary).summary;
    } finally {
      await this.kill();
    }
  }

  /** Ends it at once; a no-op when it has ended. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }

  private hear<T extends FromApplication['type']>(
    type: T,
    timeoutMs: number,
  ): Promise<Extract<FromApplication, { type: T }>> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.child.off('message', onMessage).off('exit', onExit).off('error', onError);
        act();
      };
      const onMessage = (message: FromApplication) => {
        if (message.type === type) settle(() => resolve(message as Extract<FromApplication, { type: T }>));
        else if (message.type === 'failed')
          settle(() => reject(new Error(`the demo's application failed: ${message.message}`)));
      };
      const onExit = (code: number | null, signal: string | null) =>
        settle(() => reject(new Error(`the demo's application ended (${signal ?? code})`)));
      const onError = (error: Error) => settle(() => reject(error));
      const timer = setTimeout(
        () => settle(() => reject(new Error(`the demo's application said nothing for ${timeoutMs} ms`))),
        timeoutMs,
      );
      this.child.on('message', onMessage).on('exit', onExit).on('error', onError);
    });
  }
}

/** The application's file beside this one: source under tsx, or compiled. */
function entry(): { file: string; execArgv?: string[] } {
  const extension = extname(fileURLToPath(import.meta.url));
  const file = fileURLToPath(new URL(`./app${extension}`, import.meta.url));
  if (extension === '.js') return { file };
  // whoever runs us from source (tsx, a test runner) may do it in a way that a child does not inherit
  const tsx = createRequire(import.meta.url).resolve('tsx');
  return { file, execArgv: ['--import', pathToFileURL(tsx).href] };
}
