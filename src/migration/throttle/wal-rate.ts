/**
 * Seconds that a rate is taken over. Longer, and what the copy was driven at before still counts long after it was slowed
 * down; shorter, and one full page image more or less counts.
 */
const windowSeconds = 3;
const leastSeconds = 1;
/** After a time without looks the copy may have stood, and the old ones say nothing. */
const longestGap = 10;

/** The share of the time between the first of `looks` and the last: each counts until the next. With no time between, the last. */
export function meanShare(looks: readonly { readonly at: number; readonly share: number }[]): number {
  const [first, last] = [looks[0], looks.at(-1)];
  if (!first || !last || last.at <= first.at) return last?.share ?? 0;
  const sum = looks.reduce((total, { at, share }, i) => total + share * ((looks[i + 1]?.at ?? at) - at), 0);
  return sum / (last.at - first.at);
}

/** What was seen over the latest looks. */
export interface WalSeen {
  /** bytes of WAL a second, of the whole server */
  readonly rate: number;
  /** of these the copy's, at most; null before it copied enough to tell */
  readonly ours: number | null;
  /** mean share at which the copy was driven meanwhile */
  readonly share: number;
}

interface Look {
  readonly at: number;
  readonly bytes: number;
  /** copied so far */
  readonly rows: number;
  /** since this look */
  share: number;
}

/** Rows in a window, below which it does not tell what one of them takes. */
const enoughRows = 500;
/** What a row takes is the least that was seen lately, in seconds: longer than checkpoints and vacuums write in one go. */
const lately = 60;

/**
 * Bytes of WAL a second, over the latest looks, and how many of them are the copy's. What others write at the same time is
 * not known by itself, but a row cannot take more than all WAL that was written while it was copied: the least of that
 * lately, times the rows, is what the copy wrote at most. The rest is others': their changes, full pages after a checkpoint,
 * a vacuum.
 */
export class WalRate {
  #looks: Look[] = [];
  /** bytes a row, in each window lately */
  #perRow: { readonly at: number; readonly bytes: number }[] = [];

  /**
   * @param at seconds
   * @param bytes written by the server so far
   * @param rows copied so far
   * @returns null until there are looks a second apart
   */
  add(at: number, bytes: number, rows: number): WalSeen | null {
    const last = this.#looks.at(-1);
    // fewer bytes: another server
    if (last && (at - last.at > longestGap || bytes < last.bytes)) this.#looks = [];
    const kept = this.#looks.filter((look) => look === last || at - look.at <= windowSeconds);
    this.#looks = [...kept, { at, bytes, rows, share: last?.share ?? 0 }];
    const first = this.#looks[0] as Look;
    const seconds = at - first.at;
    if (seconds < leastSeconds) return null;
    const written = bytes - first.bytes;
    const copied = rows - first.rows;
    this.#perRow = this.#perRow.filter((each) => at - each.at <= lately);
    if (copied >= enoughRows) this.#perRow.push({ at, bytes: written / copied });
    const ours = this.#ofRows(copied);
    return {
      rate: written / seconds,
      ours: ours === null ? null : Math.min(written, ours) / seconds,
      share: meanShare(this.#looks),
    };
  }

  /** Nothing was copied, at whatever share: that says nothing about what comes. */
  forgetLooks(): void {
    this.#looks = [];
  }

  /** bytes that a copied row takes, at most; null before enough were copied to tell */
  get bytesPerRow(): number | null {
    return this.#perRow.length ? Math.min(...this.#perRow.map(({ bytes }) => bytes)) : null;
  }

  #ofRows(rows: number): number | null {
    if (rows === 0) return 0;
    return this.bytesPerRow === null ? null : rows * this.bytesPerRow;
  }

  /** The share at which the copy is driven from the last look on. */
  drivenAt(share: number): void {
    const last = this.#looks.at(-1);
    if (last) last.share = share;
  }
}
