import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { ForeshadowError } from '../core/errors.ts';
import { splitLine } from './csv.ts';
import { type CalendarEvent, compareEvents } from './event.ts';
import { parseInstant } from './instant.ts';

const columns = ['start', 'end', 'group', 'kind', 'weight'] as const;
type Column = (typeof columns)[number];
const required: readonly Column[] = ['start', 'end', 'group'];

/** Bytes that a gzipped calendar may unpack to: a small file cannot fill the memory. */
const MOST_BYTES = 256 * 1024 * 1024;

/**
 * Reads a calendar: CSV, plain or gzipped (told by its first bytes), with a header of `start,end,group` and, if
 * wanted, `kind` and `weight`, in any order. Times are Unix seconds or ISO 8601 (UTC without an offset); an empty
 * group concerns every row.
 * @returns the events by start
 * @throws ForeshadowError USAGE, naming the file and the line
 */
export async function readCalendarFile(path: string): Promise<CalendarEvent[]> {
  let text: string;
  try {
    const bytes = await readFile(path);
    const gzipped = bytes[0] === 0x1f && bytes[1] === 0x8b;
    const plain = gzipped ? await promisify(gunzip)(bytes, { maxOutputLength: MOST_BYTES }) : bytes;
    text = plain.toString('utf8');
  } catch (cause) {
    const message = `cannot read the calendar ${path}: ${(cause as Error).message}`;
    throw new ForeshadowError('USAGE', message, { path }, { cause });
  }
  return parseCalendar(text, path);
}

/** What {@link readCalendarFile} does with the text of a file; the path is for messages. */
export function parseCalendar(text: string, path: string): CalendarEvent[] {
  const [head = '', ...lines] = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  const header = parseHeader(head, path);
  const events: CalendarEvent[] = [];
  for (const [i, line] of lines.entries()) {
    if (line.trim() !== '') events.push(parseEvent(line, header, path, i + 2));
  }
  return events.sort(compareEvents);
}

function failure(path: string, line: number, what: string): ForeshadowError {
  return new ForeshadowError('USAGE', `${path}:${line}: ${what}`, { path, line });
}

function parseHeader(line: string, path: string): readonly Column[] {
  const names = (splitLine(line) ?? []).map((name) => name.trim());
  const form = 'the header of a calendar is start,end,group[,kind][,weight]';
  for (const [i, name] of names.entries()) {
    if (!(columns as readonly string[]).includes(name))
      throw failure(path, 1, `${form}; it has no column "${name}"`);
    if (names.indexOf(name) !== i) throw failure(path, 1, `${form}; "${name}" is there twice`);
  }
  const missing = required.find((name) => !names.includes(name));
  if (missing) throw failure(path, 1, `${form}; "${missing}" is missing`);
  return names as Column[];
}

function parseEvent(text: string, header: readonly Column[], path: string, line: number): CalendarEvent {
  const fields = splitLine(text);
  if (!fields) throw failure(path, line, 'a quote is unmatched');
  if (fields.length !== header.length)
    throw failure(path, line, `it has ${fields.length} fields, and the header ${header.length}`);
  const field = (column: Column): string => fields[header.indexOf(column)] ?? '';
  const time = (column: 'start' | 'end'): number => {
    const at = parseInstant(field(column).trim());
    if (at !== null) return at;
    const form = 'a number of seconds or an ISO 8601 time such as 2026-11-27T08:00:00+01:00';
    throw failure(path, line, `${column} must be ${form}, not "${field(column)}"`);
  };
  const start = time('start');
  const end = time('end');
  if (end <= start)
    throw failure(path, line, `end must be after start, but ${field('end')} is not after ${field('start')}`);
  const written = field('weight').trim();
  const weight = written === '' ? 1 : Number(written);
  if (!(weight >= 0 && Number.isFinite(weight)))
    throw failure(path, line, `weight must be a number of at least 0, not "${written}"`);
  return { start, end, group: field('group') || null, kind: field('kind').trim(), weight };
}
