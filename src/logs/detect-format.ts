import { ForeshadowError } from '../core/errors.ts';
import { CsvlogReader } from './csvlog.ts';
import { type EventOptions, isSeverity, type RecordReader } from './event.ts';
import { JsonlogReader } from './jsonlog.ts';
import { commonPrefixes, compileLinePrefix, type LinePrefix } from './line-prefix.ts';
import { isSection, StderrReader } from './stderr-log.ts';

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
 * @param path for messages
 * @returns undefined when there is nothing to tell by
 * @throws ForeshadowError LOG_FORMAT: a prefix that does not tell enough, or a log in another language
 */
export function detectFormat(sample: string, path: string, options: FormatOptions): Format | undefined {
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
    const json = lines.filter((line) => jsonStart.test(line));
    const csv = lines.filter((line) => csvStart.test(line));
    if (json.length > 0 && json.length >= csv.length) {
      refuseForeign(json, /"error_severity":"([^"]+)"/, path);
      return { name: 'jsonlog' };
    }
    if (csv.length > 0) {
      refuseForeign(csv, /,([^\s,"]+),[0-9A-Z]{5},"/, path);
      return { name: 'csvlog' };
    }
  }
  // only now: a server that writes csvlog may have any prefix, or none
  const candidates =
    linePrefix === undefined
      ? commonPrefixes.map((text) => compileLinePrefix(text, true))
      : [compileLinePrefix(linePrefix)];
  const prefix = bestPrefix(lines, candidates, path);
  return prefix && { name: 'stderr', prefix };
}

export function unknownFormat(path: string, { linePrefix }: FormatOptions): ForeshadowError {
  const stderr =
    linePrefix === undefined
      ? 'its lines have none of the usual prefixes'
      : `its lines do not begin with log_line_prefix '${linePrefix}'`;
  return new ForeshadowError(
    'LOG_FORMAT',
    `cannot tell the format of ${path}: it is neither jsonlog nor csvlog, and ${stderr}`,
    { path },
  );
}

/** The prefix that most lines have, and at least one in five: the others may be a program's that the server called. */
function bestPrefix(
  lines: readonly string[],
  candidates: readonly LinePrefix[],
  path: string,
): LinePrefix | undefined {
  let best: { prefix: LinePrefix; known: number; foreign: number } | undefined;
  for (const prefix of candidates) {
    const counts = countHeaders(prefix, lines);
    const sum = counts.known + counts.foreign;
    if (sum > (best ? best.known + best.foreign : 0)) best = { prefix, ...counts };
  }
  if (!best || (best.known + best.foreign) * 5 < lines.length) return undefined;
  if (best.known === 0) throw foreignLanguage(path);
  return best.prefix;
}

function countHeaders(prefix: LinePrefix, lines: readonly string[]): { known: number; foreign: number } {
  const counts = { known: 0, foreign: 0 };
  for (const line of lines) {
    prefix.header.lastIndex = 0;
    const word = prefix.header.exec(line)?.[prefix.severityGroup];
    if (word === undefined) continue;
    if (isSeverity(word) || isSection(word)) counts.known++;
    else counts.foreign++;
  }
  return counts;
}

function refuseForeign(lines: readonly string[], pattern: RegExp, path: string): void {
  const words = lines.flatMap((line) => pattern.exec(line)?.[1] ?? []);
  if (words.length > 0 && !words.some(isSeverity)) throw foreignLanguage(path);
}

function foreignLanguage(path: string): ForeshadowError {
  return new ForeshadowError('LOG_FORMAT', `${path} is not written in English`, { path });
}
