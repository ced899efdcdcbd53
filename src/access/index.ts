export {
  type AccessMiner,
  createAccessMiner,
  type MinerFilter,
  type MinerStatistics,
  mineAccesses,
} from './miner.ts';
export { type Reason, reasons } from './reason.ts';
export {
  type AccessResolver,
  type AccessResolverOptions,
  createAccessResolver,
  type Lookup,
  type Resolution,
} from './resolver.ts';
export type { AccessStatistics, UnresolvedShape } from './statistics.ts';
