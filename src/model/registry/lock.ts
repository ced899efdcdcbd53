import { randomUUID } from 'node:crypto';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ForeshadowError } from '../../core/errors.ts';

/** A holder needs milliseconds; one that is silent for this long was killed. */
const STALE_MS = 10_000;
const PATIENCE_MS = 30_000;

/**
 * Runs `body` while no other process that asks for the same lock runs its own. The lock is a file that only its maker
 * could create, so it works on a shared folder too; what a killed process leaves is taken away after ten seconds.
 * @param body is told a function that throws when the lock has been taken from it: to be called before what it
 *   writes becomes visible
 * @throws ForeshadowError CONFLICT when the lock cannot be had
 */
export async function withLock<T>(
  path: string,
  body: (stillMine: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const token = randomUUID();
  const giveUp = performance.now() + PATIENCE_MS;
  while (!(await created(path, token))) {
    if (performance.now() > giveUp)
      throw new ForeshadowError('CONFLICT', `${path} is held by another process`);
    await removeStale(path);
    await sleep(5 + Math.random() * 20);
  }
  const isMine = async () => (await readFile(path, 'utf8').catch(() => '')) === token;
  try {
    return await body(async () => {
      if (!(await isMine())) throw new ForeshadowError('CONFLICT', `${path} was lost to another process`);
    });
  } finally {
    if (await isMine()) await rm(path, { force: true });
  }
}

async function created(path: string, content: string): Promise<boolean> {
  try {
    await writeFile(path, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Of several that find the same dead lock only one may remove it, or the second would remove its successor. */
async function removeStale(path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (!found || Date.now() - found.mtimeMs < STALE_MS) return;
  const right = `${path}.${found.ino}-${Math.round(found.mtimeMs)}`;
  if (!(await created(right, ''))) {
    // left by one that was killed in between
    const other = await stat(right).catch(() => null);
    if (other && Date.now() - other.mtimeMs > STALE_MS) await rm(right, { force: true });
    return;
  }
  try {
    const now = await stat(path).catch(() => null);
    if (now?.ino === found.ino && now.mtimeMs === found.mtimeMs) await rm(path, { force: true });
  } finally {
    await rm(right, { force: true });
  }
}
