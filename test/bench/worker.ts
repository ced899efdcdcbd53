import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from '../../src/config/config.ts';
import type { MigrationFile } from '../../src/config/migration-file.ts';

export interface Worker {
  /** @throws when it ended by itself, and not well */
  readonly ended: Promise<void>;
  /** -9 */
  kill(): Promise<void>;
}

/** `foreshadow run`, as a process of its own. */
export async function foreshadow(
  { databaseUrl, modelsDir }: Pick<Config, 'databaseUrl' | 'modelsDir'>,
  file: MigrationFile,
): Promise<Worker> {
  await mkdir(modelsDir, { recursive: true });
  const path = join(modelsDir, `${file.name}.json`);
  await writeFile(path, JSON.stringify(file));
  const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', main, 'run', path, '--json'], {
    env: { ...process.env, DATABASE_URL: databaseUrl as string, FORESHADOW_MODELS: modelsDir },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2000);
  });
  const ended = once(child, 'close').then(([code, signal]) => {
    if (code !== 0 && signal !== 'SIGKILL') throw new Error(`foreshadow run ended with ${code}: ${said}`);
  });
  ended.catch(() => undefined);
  return {
    ended,
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
