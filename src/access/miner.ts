import type { Access } from '../core/access.ts';
import type { ExecutedStatement } from '../logs/statement.ts';
import type { AccessResolver } from './resolver.ts';
import type { AccessStatistics } from './statistics.ts';

export interface MinerFilter {
  /** only statements in this database; every database when absent */
  readonly database?: string;
  /** statements of applications whose name begins so are passed over; `foreshadow`, our own, when absent */
  readonly ignoreApplications?: string;
}

export interface MinerStatistics extends AccessStatistics {
  /** statements of other databases, and of ourselves */
  readonly filtered: number;
}

export interface AccessMiner {
  /** @returns the accesses of these statements, in their order */
  take(batch: Iterable<ExecutedStatement>): Access[];
  statistics(): MinerStatistics;
}

/** Executed statements in, accesses to one table out. Does no I/O. */
export function createAccessMiner(resolver: AccessResolver, filter: MinerFilter = {}): AccessMiner {
  const ours = filter.ignoreApplications ?? 'foreshadow';
  let filtered = 0;
  return {
    take(batch) {
      const accesses: Access[] = [];
      for (const statement of batch) {
        // a log_line_prefix without %d leaves the database open
        const { database } = statement;
        const elsewhere = filter.database !== undefined && database !== '' && database !== filter.database;
        if (elsewhere || (ours !== '' && statement.applicationName.startsWith(ours))) filtered++;
        else for (const access of resolver.resolve(statement).accesses) accesses.push(access);
      }
      return accesses;
    },
    statistics: () => ({ ...resolver.statistics(), filtered }),
  };
}

/** The same over a stream of batches, such as `readLog` gives. */
export async function* mineAccesses(
  miner: AccessMiner,
  batches: AsyncIterable<Iterable<ExecutedStatement>>,
): AsyncGenerator<Access[], void, undefined> {
  for await (const batch of batches) yield miner.take(batch);
}
