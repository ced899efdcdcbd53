import { ForeshadowError } from '../core/errors.ts';
import { CsvlogReader } from './csvlog.ts';
import type { EventOptions, RecordReader } from './event.ts';
import { JsonlogReader } from './jsonlog.ts';
import { commonPrefixes, compileLinePrefix, type LinePrefix } from './line-prefix.ts';
import { StderrReader } from './stderr-log.ts';
import { Stretch } from './stretch.ts';

/** As in `log_destination`. */
export type LogFormat = 'csvlog' | 'jsonlog' | 'stderr';

export interface FormatOptions {
  /** found by looking when absent */
  readonly format?: LogFormat | undefined;
  /** `log_line_prefix`, for stderr; the usual ones are tried when absent */
  readonly linePrefix?: string | undefined;
}

export type Format =
  | { readonly name: 'csvlog' | 'jsonlog' }
  | { readonly name: 'stderr'; readonly prefix: LinePrefix };

/** How much of a file is looked at. */
export const sampleBytes = 64 * 1024;

export function createRecordReader(format: Format, options: EventOptions): RecordReader {
  if (format.name === 'stderr') return new StderrReader(format.prefix, options);
  return format.name === 'csvlog' ? new CsvlogReader(options) : new JsonlogReader(options);
}

const jsonStart = /^\{"timestamp":"/;
const csvStart = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^\s,"]{1,12},[",]/;

/**
 * The format of a file, by its first bytes and what was said.
 *
 * @param sample latin1; a last line that is not whole does not count
 * @returns undefined when there is nothing to tell by
 * @throws ForeshadowError LOG_FORMAT: a prefix that does not tell enough
 */
export function detectFormat(sample: string, options: FormatOptions): Format | undefined {
  const { format, linePrefix } = options;
  if (format === 'csvlog' || format === 'jsonlog') return { name: format };
  if (format === 'stderr' && linePrefix !== undefined)
    return { name: 'stderr', prefix: compileLinePrefix(linePrefix) };

  const lines = sample
    .slice(0, sample.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '' && line !== '\r' && line[0] !== '\t');
  if (lines.length === 0) return undefined;
  if (format === undefined) {
    const json = lines.filter((line) => jsonStart.test(line)).length;
    const csv = lines.filter((line) => csvStart.test(line)).length;
    if (json > 0 || csv > 0) return { name: json >= csv ? 'jsonlog' : 'csvlog' };
  }
  // only now: a server that writes csvlog may have any prefix, or none
  const candidates =
    linePrefix === undefined
      ? commonPrefixes.map((text) => compileLinePrefix(text, true))
      : [compileLinePrefix(linePrefix)];
  const prefix = bestPrefix(lines, candidates);
  return prefix && { name: 'stderr', prefix };
}

/** What a file is called like, for one whose lines tell nothing: its bad lines are counted, and those to come are read. */
export function formatOfName(path: string): Format | undefined {
  const ending = /\.(json|csv)(?:\.gz)?$/.exec(path)?.[1];
  return ending === undefined ? undefined : { name: ending === 'json' ? 'jsonlog' : 'csvlog' };
}

export function unknownFormat(path: string, { linePrefix }: FormatOptions): ForeshadowError {
  const stderr =
    linePrefix === undefined
      ? 'its lines have none of the usual prefixes'
      : `its lines do not begin with log_line_prefix '${linePrefix}'`;
  return new ForeshadowError(
    'LOG_FORMAT',
    `cannot tell the format of ${path}: it is neither jsonlog nor csvlog by its lines or its name, and ${stderr}`,
    { path },
  );
}

/**
 * Whether all records at the beginning of a file are in a language that is not read. A few lines of a file that has just
 * been begun would not be enough to say so.
 */
export function isForeign(sample: Buffer, format: Format): boolean {
  let foreign = 0;
  let read = 0;
  createRecordReader(format, {}).read(new Stretch(sample), 'end', ({ kind }) => {
    if (kind === 'foreign') foreign++;
    else if (kind !== 'malformed') read++;
  });
  return foreign > 0 && read === 0;
}

export const foreignLanguage = (path: string): ForeshadowError =>
  new ForeshadowError('LOG_FORMAT', `${path} is not written in English`, { path });

/** The prefix that most lines have, and at least one in five: the others may be a program's that the server called. */
function bestPrefix(lines: readonly string[], candidates: readonly LinePrefix[]): LinePrefix | undefined {
  let best: LinePrefix | undefined;
  let most = 0;
  for (const prefix of candidates) {
    const count = lines.filter((line) => {
      prefix.header.lastIndex = 0;
      return prefix.header.test(line);
    }).length;
    if (count > most) {
      best = prefix;
      most = count;
    }
  }
  return most * 5 >= lines.length ? best : undefined;
}
