import { type FileHandle, open } from 'node:fs/promises';
import { requireLogFiles, unreadable } from './log-files.ts';
import { LogParser, type LogParserOptions } from './log-parser.ts';
import type { ExecutedStatement } from './statement.ts';

export interface ReadLogOptions extends LogParserOptions {
  /** bytes read at a time, 1 MiB; a batch holds the statements of about that much log */
  readonly chunkBytes?: number;
  /** a longer line is counted as malformed and passed over; 16 MiB bounds the memory */
  readonly maxLineBytes?: number;
  readonly signal?: AbortSignal;
}

/**
 * Every statement executed according to a set of log files that exist already, oldest file first, in batches.
 * Memory is bounded by the chunk, the longest line and the statements held back (see {@link LogParser}).
 *
 * @param pathOrGlob a file, or a path whose last part holds `*` or `?`
 * @throws ForeshadowError LOG_UNREADABLE, naming the path, for a file that cannot be read or a glob without files
 */
export async function* readLog(
  pathOrGlob: string,
  options: ReadLogOptions = {},
): AsyncGenerator<ExecutedStatement[], void, undefined> {
  const files = await requireLogFiles(pathOrGlob);
  const parser = new LogParser(options);
  for (const file of files) {
    for await (const lines of readLines(file.path, parser, options)) {
      const batch: ExecutedStatement[] = [];
      parser.feed(lines, batch);
      if (batch.length > 0) yield batch;
    }
  }
  const rest: ExecutedStatement[] = [];
  parser.flush(rest);
  if (rest.length > 0) yield rest;
}

async function* readLines(
  path: string,
  parser: LogParser,
  options: ReadLogOptions,
): AsyncGenerator<string[]> {
  const maxLine = options.maxLineBytes ?? 16 * 1024 * 1024;
  const chunk = Buffer.allocUnsafe(options.chunkBytes ?? 1024 * 1024);
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (cause) {
    throw unreadable(path, cause);
  }
  try {
    let kept: Buffer[] = []; // the pieces of a line that has not ended yet
    let keptBytes = 0;
    let skipping = false;
    for (;;) {
      options.signal?.throwIfAborted();
      const { bytesRead } = await handle.read(chunk, 0, chunk.length).catch((cause: unknown) => {
        throw unreadable(path, cause);
      });
      if (bytesRead === 0) break;
      parser.counters.bytes += bytesRead;
      let start = 0;
      if (skipping) {
        const newline = chunk.indexOf(10);
        if (newline < 0 || newline >= bytesRead) continue;
        start = newline + 1;
        skipping = false;
      }
      const end = chunk.subarray(0, bytesRead).lastIndexOf(10) + 1;
      if (end > start) {
        const whole = chunk.subarray(start, end - 1);
        const text =
          kept.length > 0 ? Buffer.concat([...kept, whole]).toString('utf8') : whole.toString('utf8');
        kept = [];
        keptBytes = 0;
        start = end;
        yield text.split('\n');
      }
      if (start < bytesRead) {
        kept.push(Buffer.from(chunk.subarray(start, bytesRead)));
        keptBytes += bytesRead - start;
        if (keptBytes > maxLine) {
          parser.counters.lines++;
          parser.counters.malformed++;
          kept = [];
          keptBytes = 0;
          skipping = true;
        }
      }
    }
    // the last line of a file is read even without its newline; if it is torn it is counted as malformed
    if (keptBytes > 0) yield [Buffer.concat(kept).toString('utf8')];
  } finally {
    await handle.close();
  }
}
