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
import { Recurring, type Rest, type Stretch } from './stretch.ts';
import { createTimeReader } from './timestamp.ts';

const comma = 44;
const quote = 34;
const newline = 10;
const carriageReturn = 13;

// Columns that are read, in an order that has not changed since 9.0. Later versions have added at the end: 13
// backend_type, 14 leader_pid and query_id; whatever comes after them is passed over.
const logTime = 0;
const userName = 1;
const databaseName = 2;
const processId = 3;
const sessionId = 5;
const commandTag = 7;
const sessionStart = 8;
const severity = 11;
const message = 13;
const detail = 14;
const query = 19;
const applicationName = 22;
const fewestColumns = 23;
const mostColumns = 40;

const incomplete = -1;
const broken = -2;

/** A record begins with its time to the millisecond; its session_start, which looks alike, has none. */
const recordStart = /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^\s,"]{1,12},[",]/g;

/** csvlog: a record may have newlines in its quoted columns, so a line is not a record. */
export class CsvlogReader implements RecordReader {
  private readonly events: Events;
  private readonly readTime = createTimeReader();
  private readonly names = new Recurring(unquote);
  private readonly statements = new Recurring(unquote);
  /** where each column of the record at hand begins and ends, without its quotes */
  private readonly from = new Int32Array(mostColumns);
  private readonly to = new Int32Array(mostColumns);
  private readonly last = Array.from({ length: mostColumns }, () => ({ raw: '', name: '' }));

  constructor(options: EventOptions = {}) {
    this.events = new Events(options);
  }

  read(stretch: Stretch, rest: Rest, take: (event: LogEvent, offset: number) => void): number {
    const { text } = stretch;
    let at = 0;
    while (at < text.length) {
      const c = text.charCodeAt(at);
      if (c === newline || (c === carriageReturn && text.charCodeAt(at + 1) === newline)) {
        at++;
        continue;
      }
      const end = this.split(text, at, rest === 'end');
      if (end === incomplete && rest !== 'end') return at;
      const event = end > 0 ? this.record(stretch) : undefined;
      if (event) {
        take(event, at);
        at = end;
        continue;
      }
      const next = this.resume(text, at, rest);
      if (next === at) return at;
      take({ kind: 'malformed', lines: Math.max(1, newlinesIn(text, at, next)) }, at);
      at = next;
    }
    return at;
  }

  /** Finds the columns of the record at `i`. @returns the index behind its newline, `incomplete` or `broken` */
  private split(text: string, i: number, last: boolean): number {
    const { from, to } = this;
    let column = 0;
    for (;;) {
      if (column === mostColumns) return broken;
      if (text.charCodeAt(i) === quote) {
        let close = text.indexOf('"', i + 1);
        while (close >= 0 && text.charCodeAt(close + 1) === quote) close = text.indexOf('"', close + 2);
        if (close < 0) return incomplete;
        from[column] = i + 1;
        to[column] = close;
        i = close + 1;
      } else {
        from[column] = i;
        // a time has no comma in its first 19 characters; what is none is found out later
        if (column === logTime || column === sessionStart) i += 19;
        let c = text.charCodeAt(i);
        while (c !== comma && c !== newline && i < text.length) c = text.charCodeAt(++i);
        to[column] = c === newline && text.charCodeAt(i - 1) === carriageReturn ? i - 1 : i;
      }
      column++;
      const c = text.charCodeAt(i);
      if (c === comma) i++;
      else if (i >= text.length) return last && column >= fewestColumns ? i : incomplete;
      else if (c === newline || (c === carriageReturn && text.charCodeAt(i + 1) === newline)) {
        return column < fewestColumns ? broken : c === newline ? i + 1 : i + 2;
      } else return broken;
    }
  }

  private record(stretch: Stretch): LogEvent | undefined {
    const { text } = stretch;
    const { from, to } = this;
    const time = this.readTime(text.slice(from[logTime], to[logTime]));
    if (!time) return undefined;
    const start = from[message]!;
    const isLog = to[severity]! - from[severity]! === 3 && text.startsWith('LOG', from[severity]);
    const at = isLog ? statementIn(text, start, to[message]!) : 0;
    if (at === nothing) return other;
    const database = this.name(text, databaseName);
    if (this.events.isElsewhere(database)) return elsewhere;
    const session = this.name(text, sessionId);
    if (at === ran) return { kind: 'done', session, at: time.at };
    const record = {
      time,
      user: this.name(text, userName),
      database,
      pid: Number(text.slice(from[processId], to[processId])) || 0,
      session,
      applicationName: this.name(text, applicationName),
    };
    if (!isLog) {
      const word = text.slice(from[severity], to[severity]);
      return this.events.raised(record, word, this.name(text, commandTag), this.text(stretch, query));
    }
    const parameters = this.text(stretch, detail);
    const sql =
      parameters === null
        ? unquote(stretch.decode(at, to[message]!))
        : this.statements.of(text.slice(at, to[message]));
    return this.events.executed(record, sql, parameters, durationIn(text, start));
  }

  /** Most records have the same name there as the one before. */
  private name(text: string, column: number): string {
    const { raw, name } = this.last[column]!;
    const start = this.from[column]!;
    const end = this.to[column]!;
    if (end - start === raw.length && text.startsWith(raw, start)) return name;
    const fresh = this.names.of(text.slice(start, end));
    const whole = fresh.includes('"') ? fresh.replaceAll('""', '"') : fresh;
    this.last[column] = {
      raw: Buffer.from(text.slice(start, end), 'latin1').toString('latin1'),
      name: whole,
    };
    return whole;
  }

  /** null when the column is empty: csvlog does not tell that from an empty text, and here none is one. */
  private text(stretch: Stretch, column: number): string | null {
    const start = this.from[column]!;
    const end = this.to[column]!;
    return end > start ? unquote(stretch.decode(start, end)) : null;
  }

  /**
   * Where to go on after what is no record: at the next thing that begins like one, even on the same line, for a server
   * that dies in the middle of a line appends its next record there. Else behind the last whole line.
   */
  private resume(text: string, at: number, rest: Rest): number {
    recordStart.lastIndex = at + 1;
    const next = recordStart.exec(text);
    if (next) return next.index;
    return rest === 'end' ? text.length : Math.max(at, text.lastIndexOf('\n') + 1);
  }
}

const unquote = (text: string): string => (text.includes('"') ? text.replaceAll('""', '"') : text);

function newlinesIn(text: string, from: number, to: number): number {
  let count = 0;
  for (let i = text.indexOf('\n', from); i >= 0 && i < to; i = text.indexOf('\n', i + 1)) count++;
  return count;
}
