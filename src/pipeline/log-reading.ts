import {
  type AccessResolverOptions,
  createAccessMiner,
  createAccessResolver,
  type MinerStatistics,
} from '../access/index.ts';
import type { Access } from '../core/access.ts';
import { type LogCounters, newLogCounters, type ReadLogOptions, readLog } from '../logs/index.ts';
import { KeySet } from './key-set.ts';

/** What was found in log files that lie there whole. */
export interface LogReading {
  readonly counters: LogCounters;
  readonly statistics: MinerStatistics;
  /** different rows */
  readonly keys: number;
  /** a sampled statement counts for those that it stands for */
  readonly reads: number;
  readonly writes: number;
  /** seconds since the epoch; null without an access */
  readonly from: number | null;
  readonly until: number | null;
}

/**
 * Log files → accesses to one table, handed to `take` batch by batch, oldest file first. Memory is bounded by the
 * different keys, never by the log.
 * @throws ForeshadowError LOG_UNREADABLE, LOG_FORMAT
 */
export async function readAccesses(
  paths: readonly string[],
  table: AccessResolverOptions,
  options: ReadLogOptions,
  take: (accesses: readonly Access[]) => void | Promise<void> = () => {},
): Promise<LogReading> {
  const counters = newLogCounters();
  const { database } = options;
  const miner = createAccessMiner(
    await createAccessResolver(table),
    database === undefined ? {} : { database },
  );
  const keys = new KeySet();
  let [reads, writes] = [0, 0];
  let [from, until] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for await (const batch of readLog(paths, { ...options, counters })) {
    const accesses = miner.take(batch);
    for (const { key, op, at, weight = 1 } of accesses) {
      keys.add(key);
      if (op === 'R') reads += weight;
      else writes += weight;
      if (at < from) from = at;
      if (at > until) until = at;
    }
    if (accesses.length > 0) await take(accesses);
  }
  const some = keys.size > 0;
  return {
    counters,
    statistics: miner.statistics(),
    keys: keys.size,
    reads,
    writes,
    from: some ? from : null,
    until: some ? until : null,
  };
}
