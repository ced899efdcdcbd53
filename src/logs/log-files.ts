import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ForeshadowError } from '../core/errors.ts';
import type { LogFormat } from './detect-format.ts';
import type { LogCounters } from './statement.ts';

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

/** Whether a file is not there any more: rotated away since it was listed. */
export function isGone(error: unknown): boolean {
  return (
    error instanceof ForeshadowError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
  );
}

const isGlob = (segment: string): boolean => /[*?]/.test(segment);

function globPattern(segment: string): RegExp {
  const escaped = segment.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`);
}

export const identityOf = (info: { readonly dev: bigint; readonly ino: bigint }): string =>
  `${info.dev}:${info.ino}`;

const byAge = (a: LogFile, b: LogFile): number =>
  a.mtimeMs - b.mtimeMs || (a.path < b.path ? -1 : a.path > b.path ? 1 : 0);

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
      files.push({
        path,
        identity: identityOf(info),
        size: Number(info.size),
        mtimeMs: Number(info.mtimeMs),
      });
    } catch (cause) {
      // a rotated file may go away between the listing and now
      if (path !== pathOrGlob && (cause as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw unreadable(path, cause);
    }
  }
  return files.sort(byAge);
}

/** What a server calls its log in each format. Those that tell most come first. */
const endings: readonly (readonly [LogFormat, string])[] = [
  ['jsonlog', 'json'],
  ['csvlog', 'csv'],
  ['stderr', 'log'],
];
// also after logrotate: postgresql.log.2.gz
const ending = /\.(json|csv|log)(?=(?:[.-]\d+)?(?:\.gz)?$)/;

/**
 * With more than one `log_destination` a server writes everything several times, into files that differ in the ending of
 * their name. Of such files one is read: in the format asked for, or else in the one that tells most.
 */
export function withoutDuplicates(files: readonly LogFile[], format?: LogFormat): LogFile[] {
  const order = endings.map(([name, word]) => ({ word, rank: name === format ? 0 : 1 }));
  const words = order.sort((a, b) => a.rank - b.rank).map(({ word }) => word);
  const bodyOf = (path: string) => path.replace(ending, '.');
  const rankOf = (path: string) => words.indexOf(ending.exec(path)?.[1] ?? '');
  const best = new Map<string, number>();
  for (const { path, size } of files) {
    const rank = rankOf(path);
    if (rank < 0 || size === 0) continue;
    best.set(bodyOf(path), Math.min(rank, best.get(bodyOf(path)) ?? rank));
  }
  return files.filter(({ path }) => rankOf(path) <= (best.get(bodyOf(path)) ?? words.length));
}

/**
 * The files to read, oldest first, and at least one.
 * @throws ForeshadowError LOG_UNREADABLE, naming the path, also for a glob without files
 */
export async function requireLogFiles(
  pathOrGlob: string | readonly string[],
  format?: LogFormat,
  counters?: LogCounters,
): Promise<LogFile[]> {
  const all: LogFile[] = [];
  for (const one of typeof pathOrGlob === 'string' ? [pathOrGlob] : pathOrGlob) {
    const files = await listLogFiles(one);
    if (files.length === 0)
      throw new ForeshadowError('LOG_UNREADABLE', `no query log matches ${one}`, { path: one });
    for (const file of files) if (!all.some(({ path }) => path === file.path)) all.push(file);
  }
  const kept = withoutDuplicates(all, format);
  if (counters) counters.duplicateFiles += all.length - kept.length;
  return kept.sort(byAge);
}
