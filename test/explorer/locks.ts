import { lanes, type State } from './state.ts';

/**
 * How far an attempt at the write cutover has got, and so which locks it holds. Each step out of here asks for a lock
 * that somebody may hold; an attempt may be given up at any point.
 */
export const cutover = {
  none: 0,
  /** has taken its one snapshot; only where it runs in REPEATABLE READ */
  begun: 1,
  /** EXCLUSIVE on S: writers and row lockers wait */
  holding: 2,
  /** has seen the key log empty */
  drained: 3,
  /** holds the rows of all lanes, to set them to STOPPED */
  stopping: 4,
  /** ACCESS EXCLUSIVE on overlay, T, key log and S */
  locked: 5,
  /** the brief stop: holds the rows of all lanes, and nothing else yet */
  briefStopping: 6,
  /** the brief stop: ACCESS EXCLUSIVE on view, T and S */
  briefLocked: 7,
} as const;

const heldAgainstReaders = (state: State) =>
  state.cutover === cutover.locked || state.cutover === cutover.briefLocked;

export const mayLockToRead = (state: State) => !heldAgainstReaders(state);

/** ROW EXCLUSIVE on S conflicts with EXCLUSIVE, which the cutover has from `holding` to `locked`. */
export const mayLockToWrite = (state: State) =>
  !heldAgainstReaders(state) && (state.cutover < cutover.holding || state.cutover > cutover.locked);

export const cutoverHoldsLanes = (state: State) => state.cutover >= cutover.stopping;

export const someoneWrites = (state: State) =>
  state.transactions.some((t) => t.phase === 1 && t.pending.some((change) => change > 0));
export const someoneHasRead = (state: State) => state.transactions.some((t) => t.phase === 1 && t.reads);

/** Lane transactions hold ACCESS SHARE on S, and their lane's row. */
export const someLaneWorks = (state: State) =>
  lanes.some((lane) => inTransaction(state.holders[lane]) || inTransaction(state.zombies[lane]));

const inTransaction = (session: { readonly phase: number } | undefined) => (session?.phase ?? 0) >= 2;
