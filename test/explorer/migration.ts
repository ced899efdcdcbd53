import { pendingLog } from './lanes.ts';
import { cutover, mayLockToRead, someLaneWorks, someoneHasRead, someoneWrites } from './locks.ts';
import type { Rules } from './rules.ts';
import { IN_PROGRESS, keys, lanes, modes, SHADOWING, type Snapshot, STOPPED, type State } from './state.ts';
import { keyName, type Take } from './words.ts';

/** What the migration itself does: it changes the mode of all lanes, and cuts writes over. */
export function migrationSteps(rules: Rules, state: State, take: Take): void {
  modeSteps(rules, state, take);
  if (state.swapped) settleStep(state, take);
  else {
    if (rules.cutover.includes('eased')) easedSteps(rules, state, take);
    if (rules.cutover.includes('brief') && mayStopBriefly(rules)) briefSteps(rules, state, take);
    if (state.cutover !== cutover.none)
      take('the attempt at the cutover is given up', (next) => {
        next.cutover = cutover.none;
        next.sawEmpty = 0;
        for (const snapshot of snapshots(next)) snapshot.beforeDrain = 0;
      });
  }
}

const snapshots = (state: State): Snapshot[] => [state.reader, ...state.transactions.map((t) => t.snapshot)];

/** Read cutover, and back again. All lane rows change in one transaction, which waits for the transactions of lanes. */
function modeSteps(rules: Rules, state: State, take: Take): void {
  if (state.modeChanges >= rules.modeChanges || someLaneWorks(state)) return;
  if (state.cutover !== cutover.none || state.swapped) return;
  const mode = state.mode === SHADOWING ? IN_PROGRESS : SHADOWING;
  take(`lanes change their mode to ${modes[mode]}`, (next) => {
    next.mode = mode;
    next.modeChanges += 1;
    if (mode === SHADOWING && rules.without !== 'cursors kept when going back to SHADOWING')
      next.passed = [0, 0];
  });
}

const isCopied = (rules: Rules, state: State) =>
  lanes.every((lane) => lane >= rules.lanes || state.passed[lane]);
const logIsEmpty = (rules: Rules, state: State) => keys.every((key) => !pendingLog(rules, state, key));

function easedSteps(rules: Rules, state: State, take: Take): void {
  const inSnapshot = rules.without === 'cutover session in REPEATABLE READ';
  const waits = rules.without !== 'older snapshots not waited for';
  const advance = (from: number, to: number, what: string, more?: (next: State) => void) => {
    if (state.cutover !== from) return;
    take(`cutover: ${what}`, (next) => {
      next.cutover = to;
      more?.(next);
    });
  };
  const ready = state.mode !== SHADOWING && state.mode !== STOPPED && isCopied(rules, state);
  if (ready && inSnapshot)
    advance(cutover.none, cutover.begun, 'begins, and takes the snapshot of its transaction', (next) => {
      next.sawEmpty = Number(logIsEmpty(rules, next));
    });
  if (ready && !someoneWrites(state))
    advance(inSnapshot ? cutover.begun : cutover.none, cutover.holding, 'holds writers back (EXCLUSIVE)');
  if (inSnapshot ? state.sawEmpty : logIsEmpty(rules, state))
    advance(cutover.holding, cutover.drained, 'finds the key log empty', (next) => {
      for (const snapshot of snapshots(next)) snapshot.beforeDrain = snapshot.held;
    });
  if ((!waits || !olderSnapshots(state)) && !someLaneWorks(state))
    advance(cutover.drained, cutover.stopping, 'finds no snapshot from before that, and stops the lanes');
  // without fences a lane may work in spite of the lock on its row
  if (!someoneHasRead(state) && !someLaneWorks(state))
    advance(cutover.stopping, cutover.locked, 'locks everybody out (ACCESS EXCLUSIVE)');
  const again = waits && rules.without !== 'snapshots looked at once';
  if ((inSnapshot ? state.sawEmpty : logIsEmpty(rules, state)) && !(again && olderSnapshots(state)))
    advance(
      cutover.locked,
      cutover.none,
      'finds the log still empty and no older snapshot, swaps and commits',
      (next) => swap(rules, next),
    );
}

/** Snapshots from before the drain, but for writers that queue for S: the guard will answer those. */
const olderSnapshots = (state: State) =>
  state.reader.beforeDrain || state.transactions.some((t) => t.snapshot.beforeDrain && !t.queued);

/** `cutover.isolation`: all of the application must be declared to use READ COMMITTED, and no STABLE function read S. */
const mayStopBriefly = (rules: Rules) =>
  rules.without === 'drain inside the cutover transaction' ||
  rules.without === 'brief stop in spite of STABLE functions' ||
  (rules.isolation === 'read committed' && rules.reader === 'none');

/** Everybody is held at once, and the cutover's own session drains the log and swaps in one transaction. */
function briefSteps(rules: Rules, state: State, take: Take): void {
  if (
    state.cutover === cutover.none &&
    state.mode !== SHADOWING &&
    isCopied(rules, state) &&
    !someLaneWorks(state)
  ) {
    take('cutover: stops the lanes', (next) => {
      next.cutover = cutover.briefStopping;
    });
  }
  if (state.cutover === cutover.briefStopping && !someoneWrites(state) && !someoneHasRead(state)) {
    take('cutover: locks everybody out (ACCESS EXCLUSIVE)', (next) => {
      next.cutover = cutover.briefLocked;
    });
  }
  if (state.cutover !== cutover.briefLocked) return;
  const dirty = keys.filter((key) => state.log[key]);
  const single = rules.without === 'single-batch drain' && dirty.length > 1;
  for (const batch of single ? dirty.map((key) => [key]) : [dirty]) {
    const drains = batch.length ? `drains the log rows of ${batch.map(keyName).join(' and ')} itself, ` : '';
    take(`cutover: ${drains}swaps and commits`, (next) => {
      for (const key of batch) {
        next.target[key] = next.source[key] as number;
        next.log[key] = 0;
      }
      next.cutover = cutover.none;
      swap(rules, next);
    });
  }
}

function swap(rules: Rules, next: State): void {
  next.cutover = cutover.none;
  next.sawEmpty = 0;
  next.mode = STOPPED;
  next.truth = [...next.source];
  next.swapped = 1;
  next.guard = rules.without === 'no guard for older snapshots' ? 0 : 1;
  for (const snapshot of snapshots(next)) snapshot.beforeDrain = 0;
}

/** When snapshots from before the swap are gone the guard goes. */
function settleStep(state: State, take: Take): void {
  if (!state.guard || snapshots(state).some((snapshot) => snapshot.held && snapshot.beforeSwap)) return;
  if (!mayLockToRead(state)) return;
  take('the guard is dropped', (next) => {
    next.guard = 0;
  });
}
