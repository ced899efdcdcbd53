import type { KeyId } from '../core/key.ts';

/** A Set ends at 16.7 million entries. */
const mostInOne = 15_000_000;
/** V8 copies a shorter piece of a text; a longer one would keep the whole piece of log alive that it was cut from. */
const longestCopied = 12;

/** Different keys, any number of them. */
export class KeySet {
  private readonly sets: Set<KeyId>[] = [new Set()];

  get size(): number {
    return this.sets.reduce((sum, set) => sum + set.size, 0);
  }

  add(key: KeyId): void {
    const last = this.sets.at(-1) as Set<KeyId>;
    if (this.sets.length === 1 && key.length <= longestCopied && last.size < mostInOne) last.add(key);
    else if (!this.sets.some((set) => set.has(key))) {
      const into = last.size < mostInOne ? last : new Set<KeyId>();
      if (into !== last) this.sets.push(into);
      into.add(Buffer.from(key).toString());
    }
  }
}
