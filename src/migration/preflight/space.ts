import { stat, statfs } from 'node:fs/promises';
import type { ClientBase } from 'pg';
import { ForeshadowError } from '../../core/errors.ts';
import type { MappedColumn } from '../../core/plan.ts';
import type { CatalogTable } from '../../db/catalog.ts';
import { type Check, ok, refuse, warn } from './checks.ts';
import { localDirectories, sizesOf, type WalKeeping, walKeeping, widthRatio } from './space.queries.ts';

const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** Rows that move while they are copied, half-filled pages, indexes built beside those they replace. */
const margin = 1.2;
/** Of the source's rows: key log, change events, members; by measure, with room. */
const ours = 0.15;
const atLeast = 64 * 2 ** 20;
/** WAL for each byte of the target: the rows and their index entries, and pages in full after each checkpoint. */
const walPerByte = 1.3;

/** Bytes that a migration needs on the server, by what for. */
export interface Need {
  /** the target with its indexes, and our own tables */
  readonly data: number;
  /** WAL that is written in all, and what of it lies on the disk at the same time */
  readonly walWritten: number;
  readonly wal: number;
}

export function needOf(
  { heap, indexes }: { readonly heap: number; readonly indexes: number },
  ratio: number,
  { kept, keepers }: WalKeeping,
): Need {
  const target = heap * ratio + indexes;
  const walWritten = target * walPerByte;
  return {
    data: margin * (target + ours * heap) + atLeast,
    walWritten,
    // who keeps WAL for longer than a checkpoint may keep all of it
    wal: keepers.length ? walWritten : Math.min(walWritten, kept),
  };
}

/**
 * Free space on the server's disks. PostgreSQL has no SQL for it, so it is asked of the file system when the server is
 * on this machine, or told by the operator (`freeBytes`, which must then do for everything).
 * @param columns the row map; null when it is not sound
 */
export async function checkSpace(
  client: ClientBase,
  source: CatalogTable,
  target: CatalogTable,
  columns: readonly MappedColumn[] | null,
  freeBytes?: number,
): Promise<Check[]> {
  const ratio = columns ? ((await ratioOf(client, source, columns)) ?? 1) : 1;
  const keeping = await walKeeping(client);
  const need = needOf(await sizesOf(client, source.oid), ratio, keeping);
  const checks = [...slotChecks(need, keeping)];
  const total = need.data + need.wal;
  const what = `about ${gib(total)} are needed (${gib(need.data)} for the target and ours, ${gib(need.wal)} for WAL)`;
  const disks =
    freeBytes === undefined
      ? await localDisks(client, target, need)
      : [{ name: 'disk', need: total, free: freeBytes }];
  if (!disks.length) {
    const message = `the server's free disk space cannot be seen from here; ${what}`;
    checks.push(warn('disk', message, 'Check it there, or tell it with --disk-free BYTES.'));
  }
  for (const { name, need: wanted, free } of disks) {
    if (free < wanted) {
      const message = `about ${gib(wanted)} of ${name} are needed on the server, and ${gib(free)} are free: ${gib(wanted - free)} are missing`;
      const detail = { need: wanted, free, missing: wanted - free };
      checks.push(refuse('disk', new ForeshadowError('DISK', message, detail)));
    } else checks.push(ok('disk', `${gib(free)} of ${name} free, about ${gib(wanted)} needed`));
  }
  return checks;
}

/** An expression that fails on some row is told by the rehearsal; here it only hides the widths. */
async function ratioOf(
  client: ClientBase,
  source: CatalogTable,
  columns: readonly MappedColumn[],
): Promise<number | null> {
  await client.query('savepoint widths');
  try {
    return await widthRatio(client, source, columns);
  } catch {
    await client.query('rollback to savepoint widths');
    return null;
  } finally {
    await client.query('release savepoint widths');
  }
}

function slotChecks({ walWritten }: Need, { keepers, slotKeep }: WalKeeping): Check[] {
  const slots = keepers.filter((name) => name.startsWith('replication slot'));
  if (!slots.length) return [];
  if (slotKeep !== null && slotKeep < walWritten) {
    const message = `the copy writes about ${gib(walWritten)} of WAL, and max_slot_wal_keep_size is ${gib(slotKeep)}: ${slots.join(', ')} would be lost if its consumer fell behind`;
    return [
      warn(
        'wal',
        message,
        'The throttle holds the copy before that. See that the consumer keeps up, or raise the setting.',
      ),
    ];
  }
  const message = `${slots.join(', ')} may keep all of the WAL that the copy writes, about ${gib(walWritten)}`;
  return [warn('wal', message, 'See that the consumer keeps up; throttle.maxSlotWal bounds it.')];
}

interface Disk {
  readonly name: string;
  readonly need: number;
  readonly free: number;
}

/** What is needed of each disk, where they can be seen: one, or another one for the write-ahead log. */
async function localDisks(client: ClientBase, target: CatalogTable, need: Need): Promise<Disk[]> {
  const found = await localDirectories(client, target.oid);
  if (!found) return [];
  const seen = async (path: string) => {
    try {
      const [space, { dev }] = await Promise.all([statfs(path), stat(path)]);
      return { dev, free: space.bavail * space.bsize };
    } catch {
      return null; // another user's directory, or a server in a container
    }
  };
  const [data, wal] = await Promise.all([seen(found.data), seen(found.wal)]);
  if (!data) return [];
  if (!wal || wal.dev === data.dev) return [{ name: 'disk', need: need.data + need.wal, free: data.free }];
  return [
    { name: 'disk for data', need: need.data, free: data.free },
    { name: 'disk for WAL', need: need.wal, free: wal.free },
  ];
}
