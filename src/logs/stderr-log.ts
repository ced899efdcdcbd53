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
import type { LinePrefix, PrefixField } from './line-prefix.ts';
import { Recurring, type Rest, type Stretch } from './stretch.ts';
import { createTimeReader, type LogTime } from './timestamp.ts';

const tab = 9;
const carriageReturn = 13;
const malformed: LogEvent = { kind: 'malformed', lines: 1 };

// since PostgreSQL 16 the context of an error tells that it was in binding
const binding = /^(?:unnamed portal|portal ".*") parameter \$\d/;

/** Lines that belong to the record before them. */
const sections = new Set(['DETAIL', 'HINT', 'QUERY', 'CONTEXT', 'LOCATION', 'BACKTRACE', 'STATEMENT']);

interface Section {
  readonly label: string;
  readonly start: number;
  end: number;
}

/** A record while its lines come in. */
interface Open {
  readonly offset: number;
  readonly header: RegExpExecArray;
  readonly severity: string;
  readonly sections: Section[];
}

/**
 * What the server writes to stderr: `<prefix>LOG:  message`, further lines of the message with a tab before them, and
 * `<prefix>DETAIL:  …`, `<prefix>STATEMENT:  …` after it. A record has no end of its own: the next one ends it.
 */
export class StderrReader implements RecordReader {
  private readonly prefix: LinePrefix;
  private readonly events: Events;
  private readonly readTime = createTimeReader();
  private readonly names = new Recurring();

  constructor(prefix: LinePrefix, options: EventOptions = {}) {
    this.prefix = prefix;
    this.events = new Events(options);
  }

  read(stretch: Stretch, rest: Rest, take: (event: LogEvent, offset: number) => void): number {
    const { text } = stretch;
    let open: Open | undefined;
    const close = () => {
      if (open) take(this.record(stretch, open), open.offset);
      open = undefined;
    };
    let at = 0;
    while (at < text.length) {
      let newline = text.indexOf('\n', at);
      if (newline < 0) {
        if (rest !== 'end') break;
        newline = text.length;
      }
      const end = newline > at && text.charCodeAt(newline - 1) === carriageReturn ? newline - 1 : newline;
      if (text.charCodeAt(at) === tab && open) open.sections.at(-1)!.end = end;
      else if (end > at) {
        const header = this.headerAt(text, at, end);
        // the rest of a torn line, or of a record whose beginning was not read
        if (header?.index !== at) {
          close();
          take(malformed, at);
        }
        if (header) {
          const label = header[this.prefix.severityGroup] as string;
          const section: Section = { label, start: header.index + header[0].length, end };
          if (sections.has(label)) {
            if (open) open.sections.push(section);
            else if (header.index === at) take(malformed, at);
          } else {
            close();
            open = { offset: header.index, header, severity: label, sections: [section] };
          }
        }
      }
      at = Math.min(newline + 1, text.length);
    }
    if (rest === 'more' || at < text.length) return open ? open.offset : at;
    close();
    return at;
  }

  /** The header of a line; behind its beginning if a server that died has left half a line there. */
  private headerAt(text: string, at: number, end: number): RegExpExecArray | undefined {
    const { header, anywhere } = this.prefix;
    header.lastIndex = at;
    const found = header.exec(text);
    if (found) return found;
    if (text.charCodeAt(at) === tab) return undefined;
    anywhere.lastIndex = 0;
    const later = anywhere.exec(text.slice(at, end));
    if (later) later.index += at;
    return later ?? undefined;
  }

  private record(stretch: Stretch, { header, severity, sections }: Open): LogEvent {
    const { text } = stretch;
    const first = sections[0] as Section;
    const start = this.messageStart(text, first.start);
    const at = severity === 'LOG' ? statementIn(text, start, first.end) : 0;
    if (at === nothing) return other;
    const time = this.time(header);
    if (!time) return malformed;
    const database = this.field(header, 'database');
    if (this.events.isElsewhere(database)) return elsewhere;
    const pid = Number(this.field(header, 'pid')) || 0;
    const session = this.field(header, 'session') || String(pid);
    if (at === ran) return { kind: 'done', session, at: time.at };
    const record = {
      time,
      user: this.field(header, 'user'),
      database,
      pid,
      session,
      applicationName: this.field(header, 'application'),
    };
    const section = (label: string) => {
      const found = sections.find((candidate) => candidate.label === label);
      return found ? lines(stretch.decode(found.start, found.end)) : null;
    };
    if (severity !== 'LOG') {
      const commandTag =
        this.field(header, 'commandTag') || (binding.test(section('CONTEXT') ?? '') ? 'BIND' : '');
      return this.events.raised(record, severity, commandTag, section('STATEMENT'));
    }
    const sql = lines(stretch.decode(at, first.end));
    return this.events.executed(record, sql, section('DETAIL'), durationIn(text, start));
  }

  /** `log_error_verbosity = verbose` writes the SQLSTATE before the message. */
  private messageStart(text: string, start: number): number {
    return text.startsWith('00000: ', start) ? start + 7 : start;
  }

  private time(header: RegExpExecArray): LogTime | undefined {
    const { groups } = this.prefix;
    const epoch = groups.get('epoch');
    if (epoch !== undefined) return { at: Number(header[epoch]), zoneKnown: true };
    return this.readTime(header[groups.get('time') as number] ?? '');
  }

  private field(header: RegExpExecArray, field: PrefixField): string {
    const group = this.prefix.groups.get(field);
    const raw = group === undefined ? undefined : header[group];
    return raw === undefined || raw === '' || raw === '[unknown]' ? '' : this.names.of(raw);
  }
}

/** Takes off the tab that the server puts before each further line. */
function lines(text: string): string {
  return text.includes('\n') ? text.replace(/\r?\n\t/g, '\n') : text;
}
