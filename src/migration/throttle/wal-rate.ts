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

/** What was seen over the latest looks: bytes of WAL a second, and the mean share at which the copy was driven meanwhile. */
export interface WalSeen {
  readonly rate: number;
  readonly share: number;
}

interface Look {
  readonly at: number;
  readonly bytes: number;
  /** since this look */
  share: number;
}

/** Bytes of WAL a second, over the latest looks. */
export class WalRate {
  #looks: Look[] = [];

  /** @returns null until there are looks a second apart */
  add(at: number, bytes: number): WalSeen | null {
    const last = this.#looks.at(-1);
    if (last && (at - last.at > longestGap || bytes < last.bytes)) this.#looks = []; // fewer bytes: another server
    const kept = this.#looks.filter((look) => look === last || at - look.at <= windowSeconds);
    this.#looks = [...kept, { at, bytes, share: last?.share ?? 0 }];
    const first = this.#looks[0] as Look;
    const seconds = at - first.at;
    if (seconds < leastSeconds) return null;
    return { rate: (bytes - first.bytes) / seconds, share: meanShare(this.#looks) };
  }

  /** The share at which the copy is driven from the last look on. */
  drivenAt(share: number): void {
    const last = this.#looks.at(-1);
    if (last) last.share = share;
  }
}
