/** Checkpoints and standbys feel WAL over seconds, not over one look. */
const windowSeconds = 10;
const leastSeconds = 1;

/** Bytes of WAL a second, over the latest looks. */
export class WalRate {
  #looks: { readonly at: number; readonly bytes: number }[] = [];

  /** @returns the rate; null until there are looks a second apart */
  add(at: number, bytes: number): number | null {
    const last = this.#looks.at(-1);
    // after a time without looks, and on another server, the old ones say nothing
    if (last && (at - last.at > windowSeconds || bytes < last.bytes)) this.#looks = [];
    this.#looks = [...this.#looks.filter((look) => at - look.at <= windowSeconds), { at, bytes }];
    const first = this.#looks[0] as { at: number; bytes: number };
    return at - first.at < leastSeconds ? null : (bytes - first.bytes) / (at - first.at);
  }
}
