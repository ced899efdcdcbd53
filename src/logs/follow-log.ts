import { open } from 'node:fs/promises';
import { type Clock, systemClock } from '../core/clock.ts';
import {
  createRecordReader,
  detectFormat,
  type Format,
  type FormatOptions,
  formatOfName,
  sampleBytes,
  unknownFormat,
} from './detect-format.ts';
import type { RecordReader } from './event.ts';
import { compileLinePrefix } from './line-prefix.ts';
import { openLog, PackedBytes } from './log-bytes.ts';
import {
  identityOf,
  isGone,
  type LogFile,
  listLogFiles,
  unreadable,
  withoutDuplicates,
} from './log-files.ts';
import { LogParser, type LogParserOptions } from './log-parser.ts';
import type { LogPlace } from './place.ts';
import { type Position, Positions } from './positions.ts';
import type { ExecutedStatement, LogCounters } from './statement.ts';
import type { Rest } from './stretch.ts';

export interface FollowLogOptions extends LogParserOptions, FormatOptions {
  /** where to start in the files that the first poll finds: `end` follows what comes, `start` catches up first */
  readonly from?: 'start' | 'end';
  /** bytes one poll reads at most, 4 MiB; it is also the longest record that can be read */
  readonly maxBytesPerPoll?: number;
  /** goes on from here; files that it does not know are read from their start */
  readonly place?: LogPlace;
  readonly clock?: Clock;
}

/** One file as it was when last looked at. */
interface Followed {
  position: Position;
  size: number;
  mtimeMs: number;
  /** when that was seen to change, seconds */
  changedAt: number;
  compressed: boolean;
  /** undefined until the file tells its format */
  reader: RecordReader | undefined;
  /** it was read to its end as it is now, with this expectation */
  tried: Rest | undefined;
}

/** The compressed file at hand. */
interface Unpacking {
  readonly bytes: PackedBytes;
  /** how much of the content has come out */
  at: number;
  /** the end of that, where a record has begun and not ended */
  held: Buffer;
}

/**
 * Follows log files as the server writes them, and what becomes of them: a renamed, copied or compressed file is not a
 * new one; a truncated file is read from its start; a half-written last record waits for its rest.
 */
export class LogFollower {
  private readonly parser: LogParser;
  private readonly positions: Positions;
  private readonly followed = new Map<string, Followed>();
  private readonly pathOrGlob: string;
  private readonly options: FollowLogOptions;
  private readonly maxBytes: number;
  /** a stderr record is whole when the next one begins, or when so many seconds nothing was added to its file */
  private readonly quietAfter: number;
  private readonly clock: Clock;
  private format: Format | undefined;
  private unpacking: Unpacking | undefined;
  private first: boolean;
  private unread = 0;
  /** found and not handed out yet: a poll that fails keeps it for the next one */
  private out: ExecutedStatement[] = [];

  constructor(pathOrGlob: string, options: FollowLogOptions = {}) {
    this.pathOrGlob = pathOrGlob;
    this.options = options;
    this.maxBytes = options.maxBytesPerPoll ?? 4 * 1024 * 1024;
    this.quietAfter = options.holdSeconds ?? 2;
    this.clock = options.clock ?? systemClock;
    this.parser = new LogParser(options);
    this.positions = new Positions(options.place ?? {}, this.clock.now());
    this.first = Object.keys(options.place ?? {}).length === 0;
  }

  get counters(): Readonly<LogCounters> {
    return this.parser.counters;
  }

  /**
   * The statements executed since the last poll, oldest first. A statement appears when it is known to have
   * succeeded (see {@link LogParser}), so it may come one or two polls later than its line.
   * @throws ForeshadowError LOG_UNREADABLE, LOG_FORMAT; the next poll goes on where this one stopped
   */
  async poll(): Promise<ExecutedStatement[]> {
    const listed = await listLogFiles(this.pathOrGlob);
    const files = withoutDuplicates(listed, this.options.format);
    this.parser.counters.duplicateFiles = listed.length - files.length;
    const now = this.clock.now();
    for (const file of files) await this.look(file, now);
    this.first = false;
    this.forget(files, now);

    let budget = this.maxBytes;
    const before = this.counters.bytes;
    for (const file of files) if (budget > 0) budget -= await this.read(file, budget, now);
    this.unread = this.counters.bytes > before ? this.ahead() : 0;
    this.parser.release(this.clock.now(), this.out);
    return this.out.splice(0);
  }

  /** Bytes that another poll would read, as of the last one; the beginning of a record that has no end yet does not count. */
  get behind(): number {
    return this.unread;
  }

  /** The place up to which statements were handed out by the polls so far. */
  place(): LogPlace {
    return this.positions.place(this.parser.waiting());
  }

  /** Hands out what is still held back; for the end of following. */
  flush(): ExecutedStatement[] {
    this.parser.flush(this.out);
    return this.out.splice(0);
  }

  /** Finds out which content a new or changed file has. */
  private async look(file: LogFile, now: number): Promise<void> {
    const known = this.followed.get(file.identity);
    if (known?.size === file.size && known.mtimeMs === file.mtimeMs) {
      known.position.seenAt = now;
      return;
    }
    try {
      const source = await openLog(file.path, sampleBytes);
      try {
        if (source.identity !== file.identity) return; // renamed since the listing: the next poll finds it
        const sample = (await source.next()) ?? Buffer.alloc(0);
        const packed = source instanceof PackedBytes ? source : undefined;
        const size = packed ? undefined : file.size;
        const position =
          this.positions.find(file.identity, known?.position, sample, size) ??
          this.positions.add(file.identity, this.first ? this.start(size) : 0, sample, now);
        position.seenAt = now;
        if (packed && position.offset > 0) {
          // most often the content was read to its end before it was compressed
          position.ended ||= (await packed.statedLength()) === position.offset % 2 ** 32;
        }
        this.followed.set(file.identity, {
          position,
          size: file.size,
          mtimeMs: file.mtimeMs,
          changedAt: now,
          compressed: packed !== undefined,
          reader: known?.reader ?? this.readerOf(sample, file.path),
          tried: undefined,
        });
        if (packed && this.first && this.options.from !== 'start') position.ended = true;
      } finally {
        await source.close();
      }
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  private start(size: number | undefined): number {
    return this.options.from === 'start' ? 0 : (size ?? 0);
  }

  private readerOf(sample: Buffer, path: string): RecordReader | undefined {
    const found = detectFormat(sample.toString('latin1'), this.options);
    if (!found && !sample.includes(10)) return undefined;
    // a file that begins with odd lines is taken to be like the others
    const format = found ?? this.format ?? this.prefixGiven() ?? formatOfName(path);
    if (!format) throw unknownFormat(path, this.options);
    this.format = format;
    return createRecordReader(format, this.options);
  }

  private prefixGiven(): Format | undefined {
    const { linePrefix } = this.options;
    return linePrefix === undefined ? undefined : { name: 'stderr', prefix: compileLinePrefix(linePrefix) };
  }

  private forget(files: readonly LogFile[], now: number): void {
    this.positions.forget(now);
    const there = new Set(files.map(({ identity }) => identity));
    for (const identity of this.followed.keys()) if (!there.has(identity)) this.followed.delete(identity);
  }

  private ahead(): number {
    let sum = 0;
    for (const { position, size, compressed, tried } of this.followed.values()) {
      if (!compressed) sum += Math.max(0, size - position.offset);
      else if (!position.ended && tried === undefined) sum += size;
    }
    return sum;
  }

  /** @returns the number of bytes read */
  private async read(file: LogFile, budget: number, now: number): Promise<number> {
    const followed = this.followed.get(file.identity);
    if (!followed?.reader) return 0;
    try {
      return followed.compressed
        ? await this.readPacked(file, followed, budget)
        : await this.readPlain(file, followed, budget, now);
    } catch (error) {
      this.unpacking = undefined;
      if (isGone(error)) return 0; // rotated away under our hands
      throw error;
    }
  }

  private async readPlain(file: LogFile, followed: Followed, budget: number, now: number): Promise<number> {
    const { position, size } = followed;
    const rest = now - followed.changedAt >= this.quietAfter ? 'quiet' : 'more';
    const length = Math.min(budget, size - position.offset);
    if (length <= 0 || followed.tried === rest) return 0;
    const chunk = await readAt(file, position.offset, length);
    if (!chunk) return 0;
    const toTheEnd = position.offset + chunk.length === size;
    if (toTheEnd) followed.tried = rest;
    position.offset += this.consume(chunk, followed, toTheEnd ? rest : 'more');
    return chunk.length;
  }

  private async readPacked(file: LogFile, followed: Followed, budget: number): Promise<number> {
    const { position } = followed;
    if (position.ended || followed.tried) return 0;
    if (this.unpacking?.bytes.identity !== file.identity) {
      const bytes = new PackedBytes(file.path, file.identity);
      this.unpacking = { bytes, at: 0, held: Buffer.alloc(0) };
    }
    const unpacking = this.unpacking as Unpacking;
    const { bytes } = unpacking;
    bytes.path = file.path;
    try {
      let used = 0;
      while (used < budget) {
        const piece = await bytes.next();
        used += piece?.length ?? 0;
        const fresh = piece?.subarray(Math.max(0, position.offset + unpacking.held.length - unpacking.at));
        unpacking.at += piece?.length ?? 0;
        if (piece && unpacking.at <= position.offset) continue; // read before
        const chunk = Buffer.concat([unpacking.held, fresh ?? Buffer.alloc(0)]);
        // a file that is cut may still be in the making
        const read = this.consume(chunk, followed, piece || bytes.cut ? 'more' : 'end');
        position.offset += read;
        unpacking.held = Buffer.from(chunk.subarray(read));
        if (piece) continue;
        this.unpacking = undefined;
        if (bytes.cut) this.parser.counters.cutFiles++;
        else position.ended = true;
        followed.tried = 'end';
        break;
      }
      return used;
    } finally {
      await bytes.close();
    }
  }

  /** @returns how many bytes of the chunk are dealt with */
  private consume(chunk: Buffer, { position, reader }: Followed, rest: Rest): number {
    let start = 0;
    if (position.skipping) {
      const newline = chunk.indexOf(10);
      start = newline < 0 ? chunk.length : newline + 1;
      position.skipping = newline < 0;
      this.parser.counters.bytes += start;
      if (newline < 0) return start;
    }
    const origin = { file: position.id, offset: position.offset + start };
    const feed = { reader: reader as RecordReader, rest, now: this.clock.now(), origin };
    const read = this.parser.feed(chunk.subarray(start), feed, this.out);
    if (start + read > 0 || chunk.length < this.maxBytes) return start + read;
    // no end of a record in sight, and it is longer than a poll may read
    this.parser.skip(chunk.length);
    position.skipping = true;
    return chunk.length;
  }
}

/** @returns undefined when the path leads to another file by now */
async function readAt(file: LogFile, offset: number, length: number): Promise<Buffer | undefined> {
  try {
    await using handle = await open(file.path, 'r');
    if (identityOf(await handle.stat({ bigint: true })) !== file.identity) return undefined;
    const chunk = Buffer.allocUnsafe(length);
    const { bytesRead } = await handle.read(chunk, 0, length, offset);
    return chunk.subarray(0, bytesRead);
  } catch (cause) {
    throw unreadable(file.path, cause);
  }
}
