import {
  createEventReader,
  type EventOptions,
  elsewhere,
  type LogEvent,
  mayTell,
  other,
  type RecordReader,
} from './event.ts';
import type { LinePrefix, PrefixField } from './line-prefix.ts';
import { Names, type Rest, type Stretch } from './stretch.ts';
import { createTimeReader, type LogTime } from './timestamp.ts';

const tab = 9;
const carriageReturn = 13;
const malformed: LogEvent = { kind: 'malformed', lines: 1 };

const binding = /^(?:unnamed portal|portal ".*") parameter \$\d/;

/** Lines that belong to the record before them. */
const sections = new Set(['DETAIL', 'HINT', 'QUERY', 'CONTEXT', 'LOCATION', 'BACKTRACE', 'STATEMENT']);
export const isSection = (word: string): boolean => sections.has(word);

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
  private readonly eventOf;
  private readonly database: string | undefined;
  private readonly readTime = createTimeReader();
  private readonly names = new Names();

  constructor(prefix: LinePrefix, options: EventOptions = {}) {
    this.prefix = prefix;
    this.eventOf = createEventReader(options);
    this.database = options.database;
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
    const first = sections[0] as Section;
    const message = severity === 'LOG' ? this.messageStart(stretch.text, first.start) : first.start;
    if (severity === 'LOG' && !mayTell(stretch.text, message)) return other;
    const time = this.time(header);
    if (!time) return malformed;
    const database = this.field(header, 'database');
    if (this.database !== undefined && database !== '' && database !== this.database) return elsewhere;
    const pid = Number(this.field(header, 'pid')) || 0;
    const section = (label: string) => {
      const found = sections.find((candidate) => candidate.label === label);
      return found ? lines(stretch.decode(found.start, found.end)) : null;
    };
    const commandTag = this.field(header, 'commandTag');
    return this.eventOf({
      time,
      user: this.field(header, 'user'),
      database,
      pid,
      session: this.field(header, 'session') || String(pid),
      applicationName: this.field(header, 'application'),
      severity,
      // since PostgreSQL 16 the context tells it too
      commandTag: commandTag === '' && binding.test(section('CONTEXT') ?? '') ? 'BIND' : commandTag,
      message: lines(stretch.decode(message, first.end)),
      detail: section('DETAIL'),
      statement: section('STATEMENT'),
    });
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
