import type { Access } from '../core/access.ts';
import type { FeatureEngine } from '../features/engine.ts';
import type { Breathe } from './pace.ts';

/** Weighted counts of a window by slot, for the keys that the engine had seen when the window began. */
export interface FutureCounts {
  readonly accesses: Float64Array;
  readonly changes: Float64Array;
  /** the same for all keys together, those that the engine had not seen included */
  readonly allAccesses: number;
  readonly allChanges: number;
  /** accesses and changes of keys that appear with a read: rows that were there before, but had not been seen */
  readonly unseenAccesses: number;
  readonly unseenChanges: number;
}

/**
 * Counts the accesses log[from, to).
 * @param log sorted by time
 */
export async function countWindow(
  engine: FeatureEngine,
  log: readonly Access[],
  from: number,
  to: number,
  breathe: Breathe,
): Promise<FutureCounts> {
  const accesses = new Float64Array(engine.size);
  const changes = new Float64Array(engine.size);
  const all = { accesses: 0, changes: 0 };
  const unseen = { accesses: 0, changes: 0 };
  const inserted = new Map<string, boolean>();
  for (let i = from; i < to; i++) {
    if (i % 2048 === 0) await breathe();
    const { key, op, weight = 1 } = log[i]!;
    const change = op === 'W' ? weight : 0;
    all.accesses += weight;
    all.changes += change;
    const slot = engine.slotOf(key);
    if (slot !== undefined) {
      accesses[slot]! += weight;
      changes[slot]! += change;
      continue;
    }
    // A key that begins with a change is most likely a new row, which no choice made before it could have held.
    const isNew = inserted.get(key) ?? op === 'W';
    inserted.set(key, isNew);
    if (isNew) continue;
    unseen.accesses += weight;
    unseen.changes += change;
  }
  return {
    accesses,
    changes,
    allAccesses: all.accesses,
    allChanges: all.changes,
    unseenAccesses: unseen.accesses,
    unseenChanges: unseen.changes,
  };
}

/** Position of the first access at or after `at`. @param log sorted by time */
export function positionOf(log: readonly Access[], at: number): number {
  let low = 0;
  let high = log.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (log[middle]!.at < at) low = middle + 1;
    else high = middle;
  }
  return low;
}
