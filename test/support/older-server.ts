import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import { type EmbeddedOptions, type EmbeddedPostgres, startEmbedded } from '../../src/db/embedded.ts';
import { afterFile } from './database.ts';

/** Folder of an installed PostgreSQL older than the embedded one, 15 if there is one; null when there is none. */
export const olderBinaries: string | null = findOlder();

/** Starts it; ends with the file. For `beforeAll` within {@link describeOlder}. */
export async function olderServer(
  options: Omit<EmbeddedOptions, 'binaries'> = {},
): Promise<EmbeddedPostgres> {
  if (olderBinaries === null) throw new Error('no older PostgreSQL is installed: use describeOlder');
  const server = await startEmbedded({ ...options, binaries: olderBinaries });
  afterFile(() => server.stop());
  return server;
}

/** A `describe` that is skipped, with the reason in its title, where no older PostgreSQL is installed. */
export function describeOlder(title: string, define: () => void): void {
  if (olderBinaries !== null) describe(title, define);
  else
    describe.skip(`${title} (skipped: no PostgreSQL 14-17 in /usr/lib/postgresql or by pg_config)`, define);
}

function findOlder(): string | null {
  const root = '/usr/lib/postgresql';
  const folders = (existsSync(root) ? readdirSync(root) : []).map((version) => join(root, version, 'bin'));
  try {
    folders.push(execFileSync('pg_config', ['--bindir'], { stdio: 'pipe' }).toString().trim());
  } catch {
    // not installed
  }
  const usable = folders.filter(
    (folder) => existsSync(join(folder, 'initdb')) && [14, 15, 16, 17].includes(major(folder)),
  );
  return usable.find((folder) => major(folder) === 15) ?? usable[0] ?? null;
}

function major(folder: string): number {
  const version = execFileSync(join(folder, 'postgres'), ['--version'], { stdio: 'pipe' }).toString();
  return Number(/PostgreSQL\) (\d+)/.exec(version)?.[1] ?? 0);
}
