import { open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ForeshadowError } from '../core/errors.ts';

export interface LogFile {
  readonly path: string;
  /** device and inode: what stays the same when a file is renamed */
  readonly identity: string;
  readonly size: number;
  readonly mtimeMs: number;
}

export function unreadable(path: string, cause: unknown): ForeshadowError {
  const code = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
  return new ForeshadowError(
    'LOG_UNREADABLE',
    `cannot read the query log ${path}: ${code}`,
    { path },
    { cause },
  );
}

const isGlob = (segment: string): boolean => /[*?]/.test(segment);

function globPattern(segment: string): RegExp {
  const escaped = segment.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`);
}

/**
 * The log files that `pathOrGlob` names, oldest first (by modification time, then by name). `*` and `?` may stand in
 * the last part of the path.
 * @throws ForeshadowError LOG_UNREADABLE for a file or folder that is not there or may not be read
 */
export async function listLogFiles(pathOrGlob: string): Promise<LogFile[]> {
  const segment = basename(pathOrGlob);
  const folder = dirname(pathOrGlob);
  const paths: string[] = [];
  if (isGlob(segment)) {
    const pattern = globPattern(segment);
    const names = await readdir(folder).catch((cause: unknown) => {
      throw unreadable(folder, cause);
    });
    for (const name of names) if (pattern.test(name)) paths.push(join(folder, name));
  } else {
    paths.push(pathOrGlob);
  }
  const files: LogFile[] = [];
  for (const path of paths) {
    try {
      const info = await stat(path, { bigint: true });
      if (!info.isFile()) {
        if (paths.length === 1 && path === pathOrGlob) throw new Error('it is not a file');
        continue;
      }
      const identity = `${info.dev}:${info.ino}`;
      files.push({ path, identity, size: Number(info.size), mtimeMs: Number(info.mtimeMs) });
    } catch (cause) {
      // a rotated file may go away between the listing and now
      if (path !== pathOrGlob && (cause as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw unreadable(path, cause);
    }
  }
  return files.sort((a, b) => a.mtimeMs - b.mtimeMs || (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/**
 * The same, but at least one.
 * @throws ForeshadowError LOG_UNREADABLE, naming the path, also for a glob without files
 */
export async function requireLogFiles(pathOrGlob: string): Promise<LogFile[]> {
  const files = await listLogFiles(pathOrGlob);
  if (files.length > 0) return files;
  throw new ForeshadowError('LOG_UNREADABLE', `no query log matches ${pathOrGlob}`, { path: pathOrGlob });
}

/**
 * Opens every log file once: only that shows whether it may be read.
 * @throws ForeshadowError LOG_UNREADABLE
 */
export async function requireReadableLog(pathOrGlob: string): Promise<void> {
  for (const { path } of await requireLogFiles(pathOrGlob)) {
    try {
      await (await open(path, 'r')).close();
    } catch (cause) {
      // rotated away since the listing
      if (path !== pathOrGlob && (cause as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw unreadable(path, cause);
    }
  }
}
