import { beginsWith, type Head, headOf, type LogPlace, noHead, readHead, writeHead } from './place.ts';

/** How far the content of a file has been read. */
export interface Position {
  /** names it in a {@link LogPlace} */
  readonly id: string;
  /** the byte from which to read on, of the unpacked content */
  offset: number;
  head: Head;
  /** a compressed file with this content was read to its end */
  ended: boolean;
  /** in the middle of a record that is too long to read */
  skipping: boolean;
  /** when a file with this content was last there, seconds */
  seenAt: number;
}

/** A file may be missing while it is renamed or compressed; so long its place is kept, in seconds. */
const absentFor = 300;

/**
 * Positions belong to contents, not to files: a file that is renamed keeps its inode, one that is compressed or copied
 * keeps its first bytes. One that is emptied and written anew keeps neither of them.
 */
export class Positions {
  private all: Position[];

  constructor(place: LogPlace, now: number) {
    this.all = Object.entries(place).map(([id, { offset, head, ended = false }]) => ({
      id,
      offset,
      head: readHead(head),
      ended,
      skipping: false,
      seenAt: now,
    }));
  }

  /**
   * @param current the position that the file had when it was last looked at
   * @param bytes the first ones of its content
   * @param size of the content; undefined where that takes unpacking it
   * @returns undefined for content that was never seen
   */
  find(
    identity: string,
    current: Position | undefined,
    bytes: Buffer,
    size: number | undefined,
  ): Position | undefined {
    const own = current ?? this.all.find(({ id }) => id === identity);
    const grown =
      own && beginsWith(bytes, own.head) && (size === undefined || size >= own.offset) ? own : undefined;
    const recognised = grown && grown.head.length > 0 ? grown : undefined;
    // A copy may have been seen while it was empty, as if it were new; of what nothing was read yet, nothing is read twice.
    const other = () =>
      this.all.find(
        (position) =>
          position !== own &&
          position.offset > 0 &&
          position.head.length > 0 &&
          beginsWith(bytes, position.head),
      );
    const found = recognised ?? other() ?? grown;
    if (found) lengthen(found, bytes);
    return found;
  }

  add(identity: string, offset: number, bytes: Buffer, now: number): Position {
    let id = identity;
    for (let n = 2; this.all.some((position) => position.id === id); n++) id = `${identity}/${n}`;
    const fresh = { id, offset, head: noHead, ended: false, skipping: false, seenAt: now };
    lengthen(fresh, bytes);
    this.all.push(fresh);
    return fresh;
  }

  /** Forgets what has not been there for long. */
  forget(now: number): void {
    this.all = this.all.filter(({ seenAt }) => now - seenAt <= absentFor);
  }

  /** @param waiting by id: from where on statements were not handed out, where that is before the position */
  place(waiting: ReadonlyMap<string, number>): LogPlace {
    return Object.fromEntries(
      this.all.map(({ id, offset, head, ended }) => {
        const first = waiting.get(id);
        const whole = ended && first === undefined;
        return [
          id,
          { offset: Math.min(offset, first ?? offset), head: writeHead(head), ...(whole && { ended }) },
        ];
      }),
    );
  }
}

function lengthen(position: Position, bytes: Buffer): void {
  const head = headOf(bytes);
  if (head.length > position.head.length) position.head = head;
}
