import type { KeyId } from '../core/key.ts';
import type { OperationRecord } from './record.ts';

/** A set of rows that can only be asked; a plain Set is one. */
export interface Selection {
  has(key: KeyId): boolean;
}

/** From, exclusive, to, inclusive; seconds since the epoch. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

const within = ({ from, to }: Span, at: number) => at > from && at <= to;

/** The p-quantile (nearest rank) of ascending values; null of none. */
export function percentile(ascending: readonly number[], p: number): number | null {
  if (ascending.length === 0) return null;
  return ascending[Math.max(0, Math.ceil(p * ascending.length) - 1)]!;
}

export interface Latency {
  readonly operations: number;
  readonly p50_ms: number | null;
  readonly p99_ms: number | null;
  readonly max_ms: number | null;
}

/** Latencies of the operations that fell due in each span, whatever became of them. */
export function latencies<Phase extends string>(
  records: readonly OperationRecord[],
  phases: Readonly<Record<Phase, Span>>,
): Record<Phase, Latency> {
  const entries = (Object.entries(phases) as [Phase, Span][]).map(([phase, span]) => {
    const ms = records.filter((record) => within(span, record.at)).map((record) => record.ms);
    ms.sort((a, b) => a - b);
    const latency = {
      operations: ms.length,
      p50_ms: percentile(ms, 0.5),
      p99_ms: percentile(ms, 0.99),
      max_ms: ms.at(-1) ?? null,
    };
    return [phase, latency] as const;
  });
  return Object.fromEntries(entries) as Record<Phase, Latency>;
}

/** How often each row was read in a span; a statement that reads ten rows counts for each of them. */
export function readCounts(records: readonly OperationRecord[], span: Span): Map<KeyId, number> {
  const counts = new Map<KeyId, number>();
  for (const { at, kind, outcome, ids } of records) {
    if (kind !== 'read' || outcome === 'error' || outcome === 'unknown' || !within(span, at)) continue;
    for (const id of ids) counts.set(String(id), (counts.get(String(id)) ?? 0) + 1);
  }
  return counts;
}

export interface HitShares<Name extends string> {
  readonly reads: number;
  /** share of the reads that fall on rows of the set, 0–1; null without reads */
  readonly shares: Readonly<Record<Name, number | null>>;
}

/** The share of reads that each set would have served. */
export function hitShares<Name extends string>(
  counts: ReadonlyMap<KeyId, number>,
  sets: ReadonlyMap<Name, Selection>,
): HitShares<Name> {
  let reads = 0;
  const hits = new Map<Name, number>([...sets.keys()].map((name) => [name, 0]));
  for (const [key, count] of counts) {
    reads += count;
    for (const [name, set] of sets) if (set.has(key)) hits.set(name, hits.get(name)! + count);
  }
  const shares = [...hits].map(([name, hit]) => [name, reads > 0 ? hit / reads : null]);
  return { reads, shares: Object.fromEntries(shares) as Record<Name, number | null> };
}

/**
 * The best that any choice of `budget` rows could have reached, made by one who knows the counts: the share of the
 * reads that fall on the most read rows, among those that could have been chosen.
 * @param eligible rows that existed when the choice was made, or were admitted since; all when absent
 */
export function oracleShare(
  counts: ReadonlyMap<KeyId, number>,
  budget: number,
  eligible: (key: KeyId) => boolean = () => true,
): number | null {
  let reads = 0;
  const candidates: number[] = [];
  for (const [key, count] of counts) {
    reads += count;
    if (eligible(key)) candidates.push(count);
  }
  candidates.sort((a, b) => b - a);
  const best = candidates.slice(0, budget).reduce((sum, count) => sum + count, 0);
  return reads > 0 ? best / reads : null;
}

/** Keys of the rows whose insertion was answered after `time`, seconds since the epoch. */
export function insertedAfter(records: readonly OperationRecord[], time: number): Set<KeyId> {
  const keys = new Set<KeyId>();
  for (const { at, ms, kind, ids } of records) {
    if (kind === 'insert' && at + ms / 1000 > time) for (const id of ids) keys.add(String(id));
  }
  return keys;
}
