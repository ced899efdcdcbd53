import type { Pool } from 'pg';
import type { KeyId } from '../core/key.ts';
import type { TablePlan } from '../core/plan.ts';
import type { Selection } from './coverage.ts';
import {
  type MemberState,
  membersAmong,
  moreMembersThan,
  shadowCounts,
  storedMembers,
} from './members.queries.ts';

/** More members than these are not read whole: that takes seconds in which lanes wait, and memory that grows with the table. */
const mostRead = 200_000;

/**
 * The members of a shadow, as something that may be asked. A small shadow is read whole when it is taken; of a large one only
 * those keys are known that somebody wanted to ask about, as of that time.
 */
export class MemberSet implements Selection {
  readonly size: number;
  readonly #in: Set<KeyId>;
  /** keys that were looked up; null: all members are known */
  readonly #asked: Set<KeyId> | null;
  readonly #lookUp: (ids: readonly KeyId[]) => Promise<Iterable<KeyId>>;

  private constructor(
    known: Set<KeyId>,
    size: number | null,
    lookUp: (ids: readonly KeyId[]) => Promise<Iterable<KeyId>>,
  ) {
    this.#in = known;
    this.size = size ?? known.size;
    this.#asked = size === null ? null : new Set();
    this.#lookUp = lookUp;
  }

  /** @param states in which a member counts */
  static async take(
    pool: Pool,
    plan: TablePlan,
    states: readonly MemberState[],
    most = mostRead,
  ): Promise<MemberSet> {
    const lookUp = async (ids: readonly KeyId[]) => (await membersAmong(pool, plan, ids, states)).keys();
    if (await moreMembersThan(pool, plan, most)) {
      const { wanted, present, leaving } = await shadowCounts(pool, plan);
      const count = { wanted: wanted - present, present, leaving };
      return new MemberSet(
        new Set(),
        states.reduce((sum, state) => sum + count[state], 0),
        lookUp,
      );
    }
    const stored = await storedMembers(pool, plan, 'all');
    const known = stored.flatMap(({ id, state }) => (states.includes(state) ? [id] : []));
    return new MemberSet(new Set(known), null, lookUp);
  }

  /** Before keys are asked about. */
  async know(keys: Iterable<KeyId>): Promise<void> {
    const asked = this.#asked;
    if (!asked) return;
    const ids = [...new Set(keys)].filter((key) => !asked.has(key));
    for (const id of await this.#lookUp(ids)) this.#in.add(id);
    for (const id of ids) asked.add(id);
  }

  has(key: KeyId): boolean {
    return this.#in.has(key);
  }
}
