import {
  durationIn,
  type EventOptions,
  Events,
  elsewhere,
  type LogEvent,
  nothing,
  other,
  type RecordReader,
  ran,
  statementIn,
} from './event.ts';
import type { Rest, Stretch } from './stretch.ts';
import { createTimeReader } from './timestamp.ts';

const malformed: LogEvent = { kind: 'malformed', lines: 1 };
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const textOrNull = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** jsonlog (PostgreSQL 15 and later): a JSON object a line. */
export class JsonlogReader implements RecordReader {
  private readonly events: Events;
  private readonly readTime = createTimeReader();

  constructor(options: EventOptions = {}) {
    this.events = new Events(options);
  }

  read(stretch: Stretch, rest: Rest, take: (event: LogEvent, offset: number) => void): number {
    const { text: all } = stretch;
    let at = 0;
    while (at < all.length) {
      let newline = all.indexOf('\n', at);
      if (newline < 0) {
        if (rest !== 'end') return at;
        newline = all.length;
      }
      if (newline > at && !(newline === at + 1 && all[at] === '\r')) this.line(stretch, at, newline, take);
      at = newline + 1;
    }
    return Math.min(at, all.length);
  }

  private line(stretch: Stretch, start: number, end: number, take: (e: LogEvent, offset: number) => void) {
    const event = this.record(stretch.decode(start, end));
    take(event, start);
    if (event !== malformed) return;
    // A server that dies in the middle of a line appends its next record to the same line, and that one is good.
    const tear = stretch.text.lastIndexOf('{"timestamp":', end);
    if (tear <= start) return;
    const after = this.record(stretch.decode(tear, end));
    if (after !== malformed) take(after, tear);
  }

  private record(line: string): LogEvent {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return malformed;
    }
    if (typeof value !== 'object' || value === null) return malformed;
    const fields = value as Readonly<Record<string, unknown>>;
    const time = typeof fields.timestamp === 'string' ? this.readTime(fields.timestamp) : undefined;
    if (!time) return malformed;
    const database = text(fields.dbname);
    if (this.events.isElsewhere(database)) return elsewhere;
    const pid = typeof fields.pid === 'number' ? fields.pid : 0;
    const session = text(fields.session_id) || String(pid);
    const record = {
      time,
      user: text(fields.user),
      database,
      pid,
      session,
      applicationName: text(fields.application_name),
    };
    const severity = text(fields.error_severity);
    if (severity !== 'LOG')
      return this.events.raised(record, severity, text(fields.ps), textOrNull(fields.statement));
    const message = text(fields.message);
    const at = statementIn(message, 0, message.length);
    if (at === nothing) return other;
    if (at === ran) return { kind: 'done', session, at: time.at };
    return this.events.executed(record, message.slice(at), textOrNull(fields.detail), durationIn(message, 0));
  }
}
