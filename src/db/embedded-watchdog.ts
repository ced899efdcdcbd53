import { spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * Cleans up after us however we end: a small process that waits for the pipe from us to close. The kernel closes it
 * on a normal exit, on SIGINT and on SIGKILL alike, so this needs no signal handler in the application.
 */
export interface Watchdog {
  /** ends this process group at once when we are gone (initdb) */
  group(pid: number): void;
  /** lets the watchdog do its work now, and waits until it has: afterwards no server and no folder is left */
  release(): Promise<void>;
}

/**
 * A program as text, so that it runs the same from source, from dist and inside a test runner. It learns process
 * groups from its stdin and the server's pid from the server's own lock file: no moment is left in which a server
 * runs that it does not know. The lock file goes when the server has ended, also when nobody reaps its process.
 */
const program = `
const { existsSync, readFileSync, rmSync } = require('node:fs');
const [folder] = process.argv.slice(1);
const lock = folder + '/data/postmaster.pid';
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const kill = (pid, signal) => { try { process.kill(pid, signal); return true; } catch { return false; } };
const serverPid = () => { try { return Number(readFileSync(lock, 'utf8').split('\\n')[0]); } catch { return 0; } };
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
let input = '';
process.stdin.on('data', (part) => { input += part; });
process.stdin.on('error', () => {});
process.stdin.on('close', async () => {
  for (const group of input.split('\\n').filter(Boolean)) kill(-Number(group), 'SIGKILL');
  const pid = serverPid();
  if (pid > 1) {
    kill(pid, 'SIGQUIT'); // PostgreSQL's immediate shutdown
    // its own limit for children that do not react is 5 s
    for (let i = 0; i < 160 && existsSync(lock) && kill(pid, 0); i++) await pause(50);
    if (existsSync(lock)) kill(pid, 'SIGKILL');
  }
  for (let i = 0; i < 20 && existsSync(folder); i++) {
    try { rmSync(folder, { recursive: true, force: true, maxRetries: 3 }); } catch {}
    if (existsSync(folder)) await pause(100);
  }
});
`;

/** @param folder removed in the end; the server's data is in its subfolder `data` */
export function startWatchdog(folder: string): Watchdog {
  const child = spawn(process.execPath, ['-e', program, folder], {
    cwd: '/',
    env: {},
    detached: true, // Ctrl-C on a terminal goes to the whole process group: not to this one
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const gone = once(child, 'exit').catch(() => undefined);
  child.stdin.on('error', () => {}); // it was killed; nothing that we could do
  child.unref();
  (child.stdin as unknown as { unref(): void }).unref();
  return {
    group: (pid) => void child.stdin.write(`${pid}\n`),
    release: async () => {
      child.ref();
      child.stdin.end();
      await gone;
    },
  };
}
