import { isAscii } from 'node:buffer';

/**
 * A stretch of a log file, from the beginning of a record or of a line.
 *
 * `text` has one character for each byte (latin1), so that an index in it is a byte offset and searching is as fast as
 * the engine can. What is kept of it is decoded by itself, which also lets go of the stretch.
 */
export class Stretch {
  readonly bytes: Buffer;
  readonly text: string;
  private readonly encoding: 'latin1' | 'utf8';

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.text = bytes.toString('latin1');
    this.encoding = isAscii(bytes) ? 'latin1' : 'utf8';
  }

  /** A text of its own, not a view of the stretch. What is not UTF-8 becomes U+FFFD. */
  decode(start: number, end: number): string {
    return end > start ? this.bytes.toString(this.encoding, start, end) : '';
  }
}

/**
 * Texts that come again and again (names of users, databases, applications, sessions; statements with parameters), each
 * decoded once. They are strings of their own: a slice would hold on to the whole stretch.
 */
export class Recurring {
  private readonly known = new Map<string, string>();
  private readonly mend: (text: string) => string;

  /** @param mend takes off what the format has done to a text */
  constructor(mend: (text: string) => string = (text) => text) {
    this.mend = mend;
  }

  /** @param raw as it stands in a stretch: a character a byte */
  of(raw: string): string {
    if (raw === '') return '';
    const text = this.known.get(raw);
    if (text !== undefined) return text;
    const bytes = Buffer.from(raw, 'latin1');
    const fresh = this.mend(bytes.toString('utf8'));
    if (raw.length > longest) return fresh;
    if (this.known.size >= 2000) this.known.clear();
    this.known.set(bytes.toString('latin1'), fresh);
    return fresh;
  }
}
/** bytes of a text that is kept: with all of them 8 MB at most */
const longest = 4096;

/** What may still come behind a stretch. */
export type Rest =
  /** more, at any moment */
  | 'more'
  /** nothing has come for a while: a record that only the next one would end is whole */
  | 'quiet'
  /** nothing: the file ends here */
  | 'end';
