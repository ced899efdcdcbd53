import { statfs } from 'node:fs/promises';
import type { ClientBase } from 'pg';
import { ForeshadowError } from '../../core/errors.ts';
import type { CatalogTable } from '../../db/catalog.ts';
import { type Check, ok, refuse, warn } from './checks.ts';

const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** The target with its indexes, the write-ahead log of writing it, and the key log: 2.5 times the source, by measure. */
const need = (source: CatalogTable) => source.totalBytes * 2.5 + 64 * 2 ** 20;

/**
 * Free space on the server's disk. PostgreSQL has no SQL for it, so it is asked of the file system when the server is
 * on this machine, or told by the operator (`freeBytes`).
 */
export async function checkSpace(
  client: ClientBase,
  source: CatalogTable,
  freeBytes?: number,
): Promise<Check> {
  let free = freeBytes;
  if (free === undefined) {
    const { rows } = await client.query<{ local: boolean; directory: string | null }>(
      `select coalesce(inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1', true) as local,
              (select setting from pg_settings where name = 'data_directory') as directory`,
    );
    const directory = rows[0]?.local ? rows[0].directory : null;
    const stats = directory ? await statfs(directory).catch(() => null) : null;
    if (stats) free = stats.bavail * stats.bsize;
  }
  if (free === undefined) {
    const message = `the server's free disk space cannot be seen from here; about ${gib(need(source))} are needed`;
    return warn('disk', message, 'Check it there, or tell it with --disk-free BYTES.');
  }
  if (free < need(source)) {
    const message = `about ${gib(need(source))} of disk are needed on the server, and ${gib(free)} are free`;
    return refuse('disk', new ForeshadowError('DISK', message, { need: need(source), free }));
  }
  return ok('disk', `${gib(free)} free, about ${gib(need(source))} needed`);
}
