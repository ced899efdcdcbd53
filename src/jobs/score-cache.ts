import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import type { MemberLookup } from './memberships.ts';

/** Scores of rows that nobody has touched since only decay; so long they are good for, in seconds. */
const goodFor = 0.5;
const mostEntries = 500_000;

interface Entry {
  /** when it was scored, seconds since the epoch */
  readonly at: number;
  /** the row of the answer up to its membership, as JSON */
  readonly head: string;
  readonly known: boolean;
  membersAsOf: number | null;
  row: string;
}

/**
 * Rows of answers, ready to be sent, of the keys that were asked for lately. A key that is seen in use is forgotten at
 * once, so an answer is never older than what the features know; without new use a score is up to half a second old.
 */
export class ScoreCache {
  readonly #entries = new Map<KeyId, Entry>();
  #version: string | null = null;

  /** Another model scores anew. */
  under(version: string | null): this {
    if (version !== this.#version) this.#entries.clear();
    this.#version = version;
    return this;
  }

  forget(accesses: readonly Access[]): void {
    if (!this.#entries.size) return;
    for (const { key } of accesses) this.#entries.delete(key);
  }

  get(id: KeyId, now: number): Entry | undefined {
    const entry = this.#entries.get(id);
    return entry && now - entry.at <= goodFor ? entry : undefined;
  }

  put(
    id: KeyId,
    key: readonly string[],
    at: number,
    found: {
      readonly score: number;
      readonly accesses: number;
      readonly changes: number;
      readonly known: boolean;
    },
  ): Entry {
    if (this.#entries.size >= mostEntries) this.#entries.clear();
    const { score, accesses, changes, known } = found;
    const head = `{"key":${JSON.stringify(key)},"score":${score},"accesses":${accesses},"changes":${changes},`;
    const entry: Entry = { at, head, known, membersAsOf: Number.NaN, row: '' };
    this.#entries.set(id, entry);
    return entry;
  }
}

/** The whole row of the answer, with the membership as it is known now. */
export function rowOf(entry: Entry, id: KeyId, members: MemberLookup | null): string {
  const asOf = members?.asOf ?? null;
  if (entry.membersAsOf !== asOf) {
    entry.membersAsOf = asOf;
    entry.row = `${entry.head}${membership(members, id)},"known":${entry.known}}`;
  }
  return entry.row;
}

function membership(members: MemberLookup | null, id: KeyId): string {
  if (!members) return '"stratum":null,"member":null';
  const stratum = members.strata.get(id);
  return stratum === undefined ? '"stratum":null,"member":false' : `"stratum":"${stratum}","member":true`;
}
