import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Access } from '../core/access.ts';

/** More lines than this for one sampled statement say nothing more. */
const mostRepeated = 1000;

/** Writes accesses as the CSV that `readEventsFile` reads; packed when the name ends in `.gz`. */
export class EventsWriter {
  private readonly file: Writable;
  private readonly into: Writable;
  private readonly closed: Promise<void>;
  /** keys with a line break, which the format cannot hold */
  leftOut = 0;

  constructor(path: string) {
    this.file = createWriteStream(path);
    this.closed = finished(this.file);
    this.closed.catch(() => {}); // whoever closes hears of it
    if (path.endsWith('.gz')) {
      this.into = createGzip();
      this.into.pipe(this.file);
    } else this.into = this.file;
    this.into.write('ts_seconds,key,op\n');
  }

  /** @throws Error when the file cannot be written. An access that stands for n others is n lines. */
  async write(accesses: readonly Access[]): Promise<void> {
    const lines: string[] = [];
    for (const { key, op, at, weight = 1 } of accesses) {
      if (/[\r\n]/.test(key)) {
        this.leftOut++;
        continue;
      }
      const line = `${at.toFixed(3)},${/[",]/.test(key) ? `"${key.replaceAll('"', '""')}"` : key},${op}\n`;
      for (let n = Math.min(mostRepeated, Math.max(1, Math.round(weight))); n > 0; n--) lines.push(line);
    }
    if (!this.into.write(lines.join(''))) await Promise.race([once(this.into, 'drain'), this.closed]);
  }

  async close(): Promise<void> {
    this.into.end();
    await this.closed;
  }
}
