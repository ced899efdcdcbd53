import { spawn } from 'node:child_process';
import { ForeshadowError } from '../core/errors.ts';

/** Whom a child process runs as. Empty: the calling user. libuv clears the supplementary groups when uid is set. */
export interface RunAs {
  readonly uid?: number;
  readonly gid?: number;
}

export interface Finished {
  /** null when a signal ended it */
  readonly code: number | null;
  /** stdout and stderr, in order of arrival */
  readonly output: string;
}

/** Only what the server needs: an inherited PGDATA, PGOPTIONS or LC_ALL would change it behind our back. */
export const serverEnvironment = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

/**
 * Runs a program to its end, in a process group of its own so that Ctrl-C on a terminal does not reach it.
 * @param onPid told the pid as soon as there is one
 * @throws the spawn error (ENOENT, EACCES, EPERM); a non-zero exit code is a result, not an error
 */
export function run(
  program: string,
  args: readonly string[],
  as: RunAs,
  { timeoutMs = 60_000, onPid }: { timeoutMs?: number; onPid?: (pid: number) => void } = {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      ...as,
      cwd: '/', // another user may not be able to enter ours, and initdb insists on knowing where it is
      env: serverEnvironment,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    let output = '';
    const keep = (part: Buffer) => {
      output += part.toString();
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
    if (child.pid !== undefined) onPid?.(child.pid);
  });
}

/**
 * PostgreSQL refuses to run as root, so root borrows a user that every system has.
 * @throws ForeshadowError EMBEDDED_FAILED when there is none
 */
export async function serverUser(): Promise<RunAs> {
  if (process.getuid?.() !== 0) return {};
  for (const name of ['postgres', 'nobody']) {
    // `id` asks the system's own user database, which /etc/passwd is only a part of
    const [uid, gid] = await Promise.all([idOf('-u', name), idOf('-g', name)]);
    if (uid !== undefined && gid !== undefined && uid !== 0) return { uid, gid };
  }
  throw new ForeshadowError(
    'EMBEDDED_FAILED',
    'PostgreSQL does not run as root, and there is neither a user "postgres" nor "nobody" to run it as',
  );
}

async function idOf(flag: string, name: string): Promise<number | undefined> {
  const { code, output } = await run('id', [flag, name], {}).catch(() => ({ code: 1, output: '' }));
  return code === 0 && /^\d+\s*$/.test(output) ? Number(output) : undefined;
}
