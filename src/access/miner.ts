import type { Access } from '../core/access.ts';
import type { ExecutedStatement } from '../logs/statement.ts';
import type { AccessResolver, Lookup } from './resolver.ts';
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
  /** The statements since the last call whose rows have to be looked up; each is to be settled. */
  lookups(): Lookup[];
  settle: AccessResolver['settle'];
  statistics(): MinerStatistics;
}

/** Executed statements in, accesses to one table out. Does no I/O. */
export function createAccessMiner(resolver: AccessResolver, filter: MinerFilter = {}): AccessMiner {
  const ours = filter.ignoreApplications ?? 'foreshadow';
  let filtered = 0;
  let open: Lookup[] = [];
  return {
    take(batch) {
      const accesses: Access[] = [];
      for (const statement of batch) {
        // a log_line_prefix without %d leaves the database open
        const { database } = statement;
        const elsewhere = filter.database !== undefined && database !== '' && database !== filter.database;
        if (elsewhere || (ours !== '' && statement.applicationName.startsWith(ours))) filtered++;
        else {
          const found = resolver.resolve(statement);
          for (const access of found.accesses) accesses.push(access);
          if (found.lookup) open.push(found.lookup);
        }
      }
      return accesses;
    },
    lookups: () => {
      const taken = open;
      open = [];
      return taken;
    },
    settle: (...settled) => resolver.settle(...settled),
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
