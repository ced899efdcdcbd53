import {
  createRecordReader,
  detectFormat,
  type Format,
  type FormatOptions,
  foreignLanguage,
  formatOfName,
  isForeign,
  sampleBytes,
  unknownFormat,
} from './detect-format.ts';
import { openLog } from './log-bytes.ts';
import { isGone, type LogFile, requireLogFiles } from './log-files.ts';
import { LogParser, type LogParserOptions } from './log-parser.ts';
import type { ExecutedStatement } from './statement.ts';

export interface ReadLogOptions extends LogParserOptions, FormatOptions {
  /** bytes read at a time, 256 KiB; a batch holds the statements of about that much log */
  readonly chunkBytes?: number;
  /** a longer record is counted as malformed and passed over; 16 MiB bounds the memory */
  readonly maxRecordBytes?: number;
  readonly signal?: AbortSignal;
}

/**
 * Every statement executed according to a set of log files that exist already, oldest file first, in batches.
 * Memory is bounded by the chunk, the longest record and the statements held back (see {@link LogParser}).
 *
 * @param pathOrGlob a file, or a path whose last part holds `*` or `?`; several, read one after the other
 * @throws ForeshadowError LOG_UNREADABLE, naming the path, for a file that cannot be read or a glob without files;
 *   LOG_FORMAT for files whose format cannot be told
 */
export async function* readLog(
  pathOrGlob: string | readonly string[],
  options: ReadLogOptions = {},
): AsyncGenerator<ExecutedStatement[], void, undefined> {
  const parser = new LogParser(options);
  const files = await requireLogFiles(pathOrGlob, options.format, parser.counters);
  const formats = await formatsOf(files, options);
  for (const [file, format] of formats) {
    for await (const batch of readFile(file, format, parser, options)) if (batch.length > 0) yield batch;
  }
  const rest: ExecutedStatement[] = [];
  parser.flush(rest);
  if (rest.length > 0) yield rest;
}

/**
 * Opens every file once, and tells its format; one that does not tell (a few odd lines) is taken to be like the others.
 * Empty files are left out.
 * @throws ForeshadowError LOG_UNREADABLE, LOG_FORMAT
 */
async function formatsOf(files: readonly LogFile[], options: FormatOptions): Promise<[LogFile, Format][]> {
  const found: [LogFile, Format | undefined][] = [];
  for (const file of files) {
    const sample = await sampleOf(file.path).catch((error: unknown) => {
      // rotated away since the listing
      if (files.length > 1 && isGone(error)) return null;
      throw error;
    });
    if (!sample) continue;
    const format = detectFormat(sample.toString('latin1'), options);
    if (format && isForeign(sample, format)) throw foreignLanguage(file.path);
    found.push([file, format]);
  }
  const told = found.find(([, format]) => format !== undefined)?.[1];
  return found.map(([file, itsOwn]) => {
    const format = itsOwn ?? told ?? formatOfName(file.path);
    if (!format) throw unknownFormat(file.path, options);
    return [file, format];
  });
}

async function sampleOf(path: string): Promise<Buffer | null> {
  const source = await openLog(path, sampleBytes);
  try {
    return await source.next();
  } finally {
    await source.close();
  }
}

/**
 * Opens every log file once: only that shows whether it may be read, and whether it is a log.
 * @throws ForeshadowError LOG_UNREADABLE, LOG_FORMAT
 */
export async function requireReadableLog(
  pathOrGlob: string | readonly string[],
  options: FormatOptions = {},
): Promise<void> {
  await formatsOf(await requireLogFiles(pathOrGlob, options.format), options);
}

async function* readFile(
  file: LogFile,
  format: Format,
  parser: LogParser,
  options: ReadLogOptions,
): AsyncGenerator<ExecutedStatement[]> {
  const longest = options.maxRecordBytes ?? 16 * 1024 * 1024;
  const reader = createRecordReader(format, options);
  const source = await openLog(file.path, options.chunkBytes ?? 256 * 1024);
  let held: Buffer = Buffer.alloc(0); // a record that has not ended yet
  let skipping = false; // in the middle of one that is too long
  try {
    for (let piece = await source.next(); ; piece = await source.next()) {
      options.signal?.throwIfAborted();
      let bytes = piece === null ? held : held.length > 0 ? Buffer.concat([held, piece]) : piece;
      if (skipping) {
        const newline = bytes.indexOf(10);
        parser.counters.bytes += newline < 0 ? bytes.length : newline + 1;
        skipping = newline < 0;
        bytes = bytes.subarray(skipping ? bytes.length : newline + 1);
      }
      const batch: ExecutedStatement[] = [];
      const read = parser.feed(bytes, { reader, rest: piece === null ? 'end' : 'more' }, batch);
      yield batch;
      if (piece === null) break;
      held = Buffer.from(bytes.subarray(read)); // the piece is good only until the next one
      if (held.length > longest) {
        parser.skip(held.length);
        held = Buffer.alloc(0);
        skipping = true;
      }
    }
    if (source.cut) parser.counters.cutFiles++;
  } finally {
    await source.close();
  }
}
