import { writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import type { CalendarEntry, Trace } from './trace.ts';

/** Lines `ts_seconds,key,op` under a header. */
export function eventsCsv({ accesses }: Trace): string {
  return ['ts_seconds,key,op', ...accesses.map(({ at, key, op }) => `${at},${key},${op}`), ''].join('\n');
}

/** Lines `start,end,group,kind,weight` under a header. */
export function calendarCsv(calendar: readonly CalendarEntry[]): string {
  const lines = calendar.map(({ start, end, group, kind, weight }) =>
    [start, end, group, kind, weight].join(','),
  );
  return ['start,end,group,kind,weight', ...lines, ''].join('\n');
}

/** Gzipped when the name ends in .gz. The compressed bytes depend on zlib's version; what they hold does not. */
export async function writeText(path: string | URL, text: string): Promise<void> {
  const zipped = String(path).endsWith('.gz');
  await writeFile(path, zipped ? gzipSync(text, { level: 9 }) : text);
}
