import { open } from 'node:fs/promises';
import {
  type AccessResolverOptions,
  createAccessMiner,
  createAccessResolver,
  type MinerStatistics,
} from '../access/index.ts';
import { createRecordReader, detectFormat, type FormatOptions } from '../logs/detect-format.ts';
import { type EventOptions, type ExecutedStatement, LogParser, requireReadableLog } from '../logs/index.ts';
import { requireLogFiles } from '../logs/log-files.ts';

/** How much of the end of the log is looked at. */
const tailBytes = 4 << 20;

export interface LogTail {
  readonly path: string;
  readonly bytes: number;
  /** of this database */
  readonly statements: number;
  /** between the first and the last of them */
  readonly seconds: number;
  readonly statistics: MinerStatistics;
  /** statements with $1 beside which the log gives no parameters */
  readonly withoutParameters: number;
}

/**
 * What the last few megabytes of the newest log file tell of the table; null when the file does not say its format.
 * @throws ForeshadowError LOG_UNREADABLE, LOG_FORMAT
 */
export async function readTail(
  pathOrGlob: string,
  target: AccessResolverOptions,
  options: EventOptions & FormatOptions & { readonly database: string },
): Promise<LogTail | null> {
  await requireReadableLog(pathOrGlob, options);
  const files = (await requireLogFiles(pathOrGlob, options.format)).filter(
    ({ path }) => !path.endsWith('.gz'),
  );
  const newest = files.at(-1);
  if (!newest) return null;
  const handle = await open(newest.path, 'r');
  let bytes: Buffer;
  try {
    const { size } = await handle.stat();
    const start = Math.max(0, size - tailBytes);
    const buffer = Buffer.alloc(size - start);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
    // in the middle of a file, the first line is most likely a part of one
    const first = start === 0 ? 0 : buffer.indexOf(10) + 1;
    bytes = buffer.subarray(first, bytesRead);
  } finally {
    await handle.close();
  }
  const format = detectFormat(bytes.toString('latin1'), options);
  if (!format) return null;
  const statements: ExecutedStatement[] = [];
  const parser = new LogParser(options);
  parser.feed(bytes, { reader: createRecordReader(format, options), rest: 'end' }, statements);
  parser.flush(statements);
  const miner = createAccessMiner(await createAccessResolver(target), { database: options.database });
  miner.take(statements);
  return {
    path: newest.path,
    bytes: bytes.length,
    statements: statements.length,
    seconds: statements.length > 1 ? statements.at(-1)!.at - statements[0]!.at : 0,
    statistics: miner.statistics(),
    withoutParameters: statements.filter(({ sql, params }) => params === null && /\$\d/.test(sql)).length,
  };
}
