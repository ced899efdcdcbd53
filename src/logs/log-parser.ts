import { createJsonlogReader, type LogEvent, recordAfterTear } from './jsonlog.ts';
import { type Origin, SettlingQueue } from './settling.ts';
import { type ExecutedStatement, type LogCounters, newLogCounters } from './statement.ts';

export interface LogParserOptions {
  /** how long a statement may still turn out to have failed; 2 s: longer, and a follower shows the past */
  readonly holdSeconds?: number;
  /** how many statements may wait for that; 20,000: about 10 MB */
  readonly holdStatements?: number;
  readonly counters?: LogCounters;
}

/** Lines of a log → executed statements, in order. Pure but for its own state; no line makes it throw. */
export class LogParser {
  readonly counters: LogCounters;
  private readonly read = createJsonlogReader();
  private readonly queue: SettlingQueue;
  private logTime = Number.NEGATIVE_INFINITY;

  constructor(options: LogParserOptions = {}) {
    this.counters = options.counters ?? newLogCounters();
    this.queue = new SettlingQueue(options.holdSeconds ?? 2, options.holdStatements ?? 20_000);
  }

  /**
   * @param lines without their newlines; empty ones are skipped
   * @param now seconds; the log's own time when absent, which is right for a log that lies there whole
   * @param originOf where the i-th line begins, for {@link waiting}
   */
  feed(
    lines: Iterable<string>,
    out: ExecutedStatement[],
    now?: number,
    originOf?: (line: number) => Origin,
  ): void {
    const before = out.length;
    let i = -1;
    for (const line of lines) {
      i++;
      if (line === '' || line === '\r') continue;
      this.counters.lines++;
      let event = this.read(line);
      if (event.kind === 'malformed') {
        this.counters.malformed++;
        const rest = recordAfterTear(line);
        if (rest === undefined) continue;
        event = this.read(rest);
      }
      this.take(event, now, originOf?.(i));
    }
    this.queue.release(now ?? this.logTime, out);
    this.count(out, before);
  }

  /** Hands out everything that still waits: nothing more will be said about it. */
  flush(out: ExecutedStatement[]): void {
    const before = out.length;
    this.queue.flush(out);
    this.count(out, before);
  }

  /** Where the first statement of each file that still waits begins. */
  waiting(): Map<string, number> {
    return this.queue.waiting();
  }

  private take(event: LogEvent, now: number | undefined, origin: Origin | undefined): void {
    if (event.kind === 'other' || event.kind === 'malformed') return;
    const at = event.kind === 'statement' ? event.statement.at : event.at;
    // never backwards: files of one server overlap by a few lines, and clocks get corrected
    if (at > this.logTime) this.logTime = at;
    if (event.kind === 'done') this.queue.done(event.session);
    else if (event.kind === 'failed') this.queue.fail(event.session, event.sql);
    else {
      if (!event.zoneKnown) this.counters.zoneGuessed++;
      this.queue.push(event.statement, event.done, now ?? this.logTime, origin);
    }
  }

  private count(out: readonly ExecutedStatement[], before: number): void {
    this.counters.executions += out.length - before;
    this.counters.failed = this.queue.failed;
  }
}
