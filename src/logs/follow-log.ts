import { type FileHandle, open } from 'node:fs/promises';
import { type Clock, systemClock } from '../core/clock.ts';
import { type LogFile, listLogFiles, unreadable } from './log-files.ts';
import { LogParser, type LogParserOptions } from './log-parser.ts';
import type { ExecutedStatement, LogCounters } from './statement.ts';

export interface FollowLogOptions extends LogParserOptions {
  /** where to start in the files that the first poll finds: `end` follows what comes, `start` catches up first */
  readonly from?: 'start' | 'end';
  /** bytes one poll reads at most, 4 MiB; it is also the longest line that can be read */
  readonly maxBytesPerPoll?: number;
  /** goes on from here; files that it does not name are read from their start */
  readonly place?: LogPlace;
  readonly clock?: Clock;
}

/**
 * A place in a set of files that outlives the process: by file identity, the byte from which to read on and the first
 * bytes of the file. All statements before it were handed out, none after it.
 */
export type LogPlace = Readonly<Record<string, { readonly offset: number; readonly head: string }>>;

interface Position {
  offset: number;
  /** the first bytes of the file: they change when somebody empties it and writes on */
  head: Buffer;
  /** in the middle of a line that is too long to read */
  skipping: boolean;
  /** when the file was last there, seconds */
  seenAt: number;
}

// a jsonlog line begins with its time, to the millisecond
const headBytes = 48;
/** A file may be missing from a listing while it is renamed; so long its place is kept, in seconds. */
const absentFor = 300;

/**
 * Follows log files as the server writes them. Files are known by device and inode, so renaming one is not a new
 * one; a truncated file is read from its start; a half-written last line waits for its rest.
 */
export class LogFollower {
  private readonly parser: LogParser;
  private readonly positions = new Map<string, Position>();
  private readonly pathOrGlob: string;
  private readonly from: 'start' | 'end';
  private readonly maxBytes: number;
  private readonly clock: Clock;
  private first = true;
  private unread = 0;

  constructor(pathOrGlob: string, options: FollowLogOptions = {}) {
    this.pathOrGlob = pathOrGlob;
    this.from = options.from ?? 'end';
    this.maxBytes = options.maxBytesPerPoll ?? 4 * 1024 * 1024;
    this.clock = options.clock ?? systemClock;
    this.parser = new LogParser(options);
    for (const [identity, { offset, head }] of Object.entries(options.place ?? {})) {
      const seenAt = this.clock.now();
      this.positions.set(identity, { offset, head: Buffer.from(head, 'base64'), skipping: false, seenAt });
      this.first = false;
    }
  }

  get counters(): Readonly<LogCounters> {
    return this.parser.counters;
  }

  /**
   * The statements executed since the last poll, oldest first. A statement appears when it is known to have
   * succeeded (see {@link LogParser}), so it may come one or two polls later than its line.
   * @throws ForeshadowError LOG_UNREADABLE; the next poll goes on where this one stopped
   */
  async poll(): Promise<ExecutedStatement[]> {
    const out: ExecutedStatement[] = [];
    const files = await listLogFiles(this.pathOrGlob);
    const now = this.clock.now();
    for (const { identity } of files) {
      const position = this.positions.get(identity);
      if (position) position.seenAt = now;
    }
    for (const [identity, { seenAt }] of this.positions)
      if (now - seenAt > absentFor) this.positions.delete(identity);

    let budget = this.maxBytes;
    const before = this.counters.bytes;
    for (const file of files) {
      if (!this.positions.has(file.identity)) {
        const offset = this.first && this.from === 'end' ? file.size : 0;
        this.positions.set(file.identity, { offset, head: Buffer.alloc(0), skipping: false, seenAt: now });
      }
      if (budget > 0) budget -= await this.read(file, budget, out);
    }
    this.first = false;
    const unread = files.reduce(
      (sum, { identity, size }) => sum + Math.max(0, size - (this.positions.get(identity)?.offset ?? 0)),
      0,
    );
    this.unread = this.counters.bytes > before ? unread : 0;
    this.parser.feed([], out, this.clock.now());
    return out;
  }

  /** Bytes that another poll would read, as of the last one; the beginning of a line that has no end yet does not count. */
  get behind(): number {
    return this.unread;
  }

  /** The place up to which statements were handed out by the polls so far. */
  place(): LogPlace {
    const waiting = this.parser.waiting();
    return Object.fromEntries(
      [...this.positions].map(([identity, { offset, head }]) => [
        identity,
        { offset: Math.min(offset, waiting.get(identity) ?? offset), head: head.toString('base64') },
      ]),
    );
  }

  /** Hands out what is still held back; for the end of following. */
  flush(): ExecutedStatement[] {
    const out: ExecutedStatement[] = [];
    this.parser.flush(out);
    return out;
  }

  /** @returns the number of bytes read */
  private async read(file: LogFile, budget: number, out: ExecutedStatement[]): Promise<number> {
    const position = this.positions.get(file.identity) as Position;
    if (file.size === position.offset && position.head.length > 0) return 0;
    let handle: FileHandle | undefined;
    try {
      handle = await open(file.path, 'r');
      await this.noticeRewrite(handle, file, position);
      const length = Math.min(budget, file.size - position.offset);
      if (length <= 0) return 0;
      const chunk = Buffer.allocUnsafe(length);
      const { bytesRead } = await handle.read(chunk, 0, length, position.offset);
      this.consume(chunk.subarray(0, bytesRead), file.identity, position, out);
      return bytesRead;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return 0; // rotated away under our hands
      throw unreadable(file.path, cause);
    } finally {
      await handle?.close();
    }
  }

  private async noticeRewrite(handle: FileHandle, file: LogFile, position: Position): Promise<void> {
    const head = Buffer.alloc(headBytes);
    const { bytesRead } = await handle.read(head, 0, headBytes, 0);
    const now = head.subarray(0, bytesRead);
    const same = now.subarray(0, position.head.length).equals(position.head);
    if (file.size < position.offset || !same) {
      position.offset = 0;
      position.skipping = false;
    }
    position.head = Buffer.from(now);
  }

  private consume(chunk: Buffer, file: string, position: Position, out: ExecutedStatement[]): void {
    const counters = this.parser.counters;
    const end = chunk.lastIndexOf(10) + 1;
    if (end === 0) {
      // no end of line in sight: wait for it, unless it is already longer than a poll may read
      if (!position.skipping && chunk.length < this.maxBytes) return;
      if (!position.skipping) {
        counters.lines++;
        counters.malformed++;
      }
      position.skipping = true;
      position.offset += chunk.length;
      counters.bytes += chunk.length;
      return;
    }
    const start = position.skipping ? chunk.indexOf(10) + 1 : 0;
    const base = position.offset;
    position.skipping = false;
    position.offset += end;
    counters.bytes += end;
    const lines: string[] = [];
    const starts: number[] = [];
    for (let from = start; from < end; ) {
      const newline = chunk.indexOf(10, from);
      lines.push(chunk.toString('utf8', from, newline));
      starts.push(base + from);
      from = newline + 1;
    }
    const originOf = (line: number) => ({ file, offset: starts[line] as number });
    this.parser.feed(lines, out, this.clock.now(), originOf);
  }
}
