import type { EventOptions, LogEvent, RecordReader } from './event.ts';
import { type Origin, SettlingQueue } from './settling.ts';
import { type ExecutedStatement, type LogCounters, newLogCounters } from './statement.ts';
import { type Rest, Stretch } from './stretch.ts';

export interface LogParserOptions extends EventOptions {
  /** how long a statement may still turn out to have failed; 2 s: longer, and a follower shows the past */
  readonly holdSeconds?: number;
  /** how many statements may wait for that; 20,000: about 10 MB */
  readonly holdStatements?: number;
  readonly counters?: LogCounters;
}

export interface Feed {
  /** reads the format of the file that these bytes are of */
  readonly reader: RecordReader;
  readonly rest: Rest;
  /** seconds; the log's own time when absent, which is right for a log that lies there whole */
  readonly now?: number;
  /** where the bytes are from, for {@link LogParser.waiting} */
  readonly origin?: Origin;
}

/** Bytes of a log → executed statements, in order. Pure but for its own state; no bytes make it throw. */
export class LogParser {
  readonly counters: LogCounters;
  private readonly queue: SettlingQueue;
  private logTime = Number.NEGATIVE_INFINITY;

  constructor(options: LogParserOptions = {}) {
    this.counters = options.counters ?? newLogCounters();
    this.queue = new SettlingQueue(options.holdSeconds ?? 2, options.holdStatements ?? 20_000);
  }

  /**
   * @param bytes from the beginning of a record or a line
   * @returns how many of them are dealt with; the rest is to come again, with more behind it
   */
  feed(bytes: Buffer, { reader, rest, now, origin }: Feed, out: ExecutedStatement[]): number {
    const stretch = new Stretch(bytes);
    const read = reader.read(stretch, rest, (event, offset) => this.take(event, offset, now, origin));
    this.counters.bytes += read;
    this.counters.lines += linesIn(stretch.text, read);
    this.release(now ?? this.logTime, out);
    return read;
  }

  /** Counts bytes that are passed over unread, as a line that is none. */
  skip(bytes: number): void {
    this.counters.bytes += bytes;
    this.counters.lines++;
    this.counters.malformed++;
  }

  /** Hands out what has waited long enough. */
  release(now: number, out: ExecutedStatement[]): void {
    const before = out.length;
    this.queue.release(now, out);
    this.counters.executions += out.length - before;
    this.counters.failed = this.queue.failed;
  }

  /** Hands out everything that still waits: nothing more will be said about it. */
  flush(out: ExecutedStatement[]): void {
    this.release(Number.POSITIVE_INFINITY, out);
  }

  /** Where the first statement of each file that still waits begins. */
  waiting(): Map<string, number> {
    return this.queue.waiting();
  }

  private take(event: LogEvent, offset: number, now: number | undefined, origin: Origin | undefined): void {
    switch (event.kind) {
      case 'other':
        return;
      case 'malformed':
        this.counters.malformed += event.lines;
        return;
      case 'elsewhere':
        this.counters.elsewhere++;
        return;
      case 'foreign':
        this.counters.foreign++;
        return;
      case 'done':
        this.pass(event.at);
        this.queue.done(event.session);
        return;
      case 'failed':
        this.pass(event.at);
        this.queue.fail(event.session, event.sql);
        return;
      case 'statement': {
        this.pass(event.statement.at);
        if (!event.zoneKnown) this.counters.zoneGuessed++;
        const from = origin && { file: origin.file, offset: origin.offset + offset };
        this.queue.push(event.statement, event.done, now ?? this.logTime, from);
      }
    }
  }

  /** Never backwards: files of one server overlap by a few lines, and clocks get corrected. */
  private pass(at: number): void {
    if (at > this.logTime) this.logTime = at;
  }
}

/** Lines in the first `end` characters; a last one without its newline counts too. */
function linesIn(text: string, end: number): number {
  let count = 0;
  for (let at = 0; at < end; count++) {
    const newline = text.indexOf('\n', at);
    at = newline < 0 ? end : newline + 1;
  }
  return count;
}
