import { mayLockToRead, mayLockToWrite } from './locks.ts';
import type { Operation, Rules } from './rules.ts';
import {
  after,
  changeTo,
  keys,
  noRow,
  type Row,
  type Snapshot,
  type State,
  type Transaction,
  untouched,
  writtenBy,
} from './state.ts';
import { keyName, rowName, type Take } from './words.ts';

/** The rows that a transaction sees by the name of S: committed ones, and its own changes. */
function seenBy(state: State, t: Transaction): [Row, Row] {
  const table = state.swapped ? state.target : state.source;
  return [after(t.pending[0], table[0]), after(t.pending[1], table[1])];
}

/** What a snapshot is, if taken now. */
export function takeSnapshot(state: State, snapshot: Snapshot): void {
  snapshot.held = 1;
  snapshot.behind = Number(!state.swapped && keys.some((key) => state.target[key] !== state.source[key]));
  snapshot.beforeDrain = 0;
  snapshot.beforeSwap = Number(!state.swapped);
}

export function dropSnapshot(snapshot: Snapshot): void {
  snapshot.held = snapshot.behind = snapshot.beforeDrain = snapshot.beforeSwap = 0;
}

/** One operation: its words, and the row that each key has afterwards. */
interface Effect {
  readonly what: string;
  readonly rows: readonly (Row | null)[];
}

function effects(rules: Rules, seen: [Row, Row], i: number): Effect[] {
  const mine = writtenBy(i);
  const found: Effect[] = [];
  const may = (operation: Operation) => rules.operations.includes(operation);
  for (const key of keys) {
    const other = 1 - key;
    const only = (row: Row) => (key === 0 ? [row, null] : [null, row]);
    const both = (own: Row, others: Row) => (key === 0 ? [own, others] : [others, own]);
    const here = seen[key];
    const there = seen[other] as Row;
    // values are unique where they are swapped, and equal keys cannot be there together
    const taken = (may('swap values') && there === mine) || (rules.equalKeys && there !== noRow);
    if (may('write') && here !== mine && !(taken && (here === noRow || may('swap values')))) {
      const verb = here === noRow ? 'inserts' : 'updates';
      found.push({ what: `${verb} ${keyName(key)} as ${rowName(mine)}`, rows: only(mine) });
    }
    if (here === noRow) continue;
    if (may('delete')) found.push({ what: `deletes ${keyName(key)}`, rows: only(noRow) });
    if (may('change key') && there === noRow)
      found.push({ what: `changes key ${keyName(key)} to ${keyName(other)}`, rows: both(noRow, here) });
    if (may('swap values') && there !== noRow && key === 0)
      found.push({ what: 'swaps the values of a and b', rows: [there, here] });
    if (may('pass value on') && there !== noRow && there !== mine && here !== mine)
      found.push({
        what: `gives ${keyName(key)} the value ${rowName(mine)} and its old one to ${keyName(other)}`,
        rows: both(mine, here),
      });
  }
  return found;
}

/** Keys whose log rows the capture trigger writes. */
function captured(rules: Rules, seen: readonly Row[], rows: readonly (Row | null)[]): number {
  const touched = keys.filter((key) => rows[key] !== null);
  const [from] = touched.filter((key) => seen[key] !== noRow && rows[key] === noRow);
  const [to] = touched.filter((key) => seen[key] === noRow && rows[key] !== noRow);
  const keyChanges = from !== undefined && to !== undefined;
  const logged = touched.filter((key) => {
    if (keyChanges && rules.without === "refresh without OLD's key") return key === to;
    if (keyChanges && rules.without === 'key equality instead of key image') return key === from;
    return true;
  });
  return logged.reduce<number>((bits, key) => bits | (1 << key), 0);
}

export function applicationSteps(rules: Rules, state: State, take: Take): void {
  for (const [i, t] of state.transactions.entries()) {
    if (t.phase === 2) continue;
    // READ COMMITTED has no snapshot of its own, so nothing happens before the first statement
    if (t.phase === 1 || rules.isolation !== 'repeatable read') operationSteps(rules, state, i, take);
    if (t.phase === 1) endSteps(state, i, take);
    else {
      if (rules.isolation !== 'read committed') beginStep(i, take);
      break; // transactions are alike, so they begin in order
    }
  }
  if (rules.reader !== 'none') readerSteps(rules, state, take);
}

const nameOf = (i: number) => `transaction ${i + 1}`;

function beginStep(i: number, take: Take): void {
  take(`${nameOf(i)} begins in REPEATABLE READ and takes its snapshot`, (next) => {
    const t = next.transactions[i] as Transaction;
    t.phase = 1;
    t.repeatableRead = 1;
    takeSnapshot(next, t.snapshot);
  });
}

function operationSteps(rules: Rules, state: State, i: number, take: Take): void {
  const t = state.transactions[i] as Transaction;
  const me = nameOf(i);
  if (rules.reads && !t.reads && !t.operations && !state.swapped && mayLockToRead(state)) {
    take(`${me} reads s, and keeps its lock`, (next) => {
      const own = next.transactions[i] as Transaction;
      own.phase = 1;
      own.reads = 1;
    });
  }
  if (t.operations >= (rules.transactions[i] as number)) return;
  if (!mayLockToWrite(state)) {
    if (t.repeatableRead && !t.queued && !t.operations) {
      take(`${me} wants to write s, and queues`, (next) => {
        (next.transactions[i] as Transaction).queued = 1;
      });
    }
    if (t.queued && rules.savepoints === 'after lock_timeout') {
      take(`${me} waits no longer (lock_timeout) and goes back to a savepoint`, (next) =>
        backToSavepoint(rules, next, i),
      );
    }
    return;
  }
  if (t.snapshot.beforeSwap && state.swapped && state.guard) {
    const survives = rules.savepoints !== 'none' && rules.without === 'guard that lets the session live';
    const ending = survives ? ', and it goes back to a savepoint' : '';
    take(`${me} wants to write s, and the guard answers 40001${ending}`, (next) => {
      if (survives) backToSavepoint(rules, next, i);
      else (next.transactions[i] as Transaction).phase = 2;
    });
    return;
  }
  const seen = seenBy(state, t);
  for (const { what, rows } of effects(rules, seen, i)) {
    const touched = keys.filter((key) => rows[key] !== null);
    const locked = rules.equalKeys ? keys : touched;
    const waits = state.transactions.some(
      (other, j) => j !== i && other.phase === 1 && locked.some((key) => other.pending[key] !== untouched),
    );
    if (waits) continue;
    if (touched.some((key) => t.changed & (1 << key))) {
      take(`${me} meets a row that has changed since its snapshot, and fails with 40001`, (next) => {
        (next.transactions[i] as Transaction).phase = 2;
      });
      continue;
    }
    take(`${me} ${what}`, (next) => {
      const own = next.transactions[i] as Transaction;
      if (state.swapped && own.snapshot.beforeSwap) next.slippedBy = 1;
      if (rules.without === 'cursor instead of delete by identity') drawNumber(next, own);
      own.phase = 1;
      own.operations += 1;
      own.queued = 0;
      for (const key of touched) own.pending[key] = changeTo(rows[key] as Row);
      if (!state.swapped) own.logged |= captured(rules, seen, rows);
    });
  }
}

/** It will not write any more, but may read by the snapshot that it still has. */
function backToSavepoint(rules: Rules, next: State, i: number): void {
  const own = next.transactions[i] as Transaction;
  own.queued = 0;
  own.operations = rules.transactions[i] as number;
}

/** The number of its log rows, drawn when the first is written: later ones may commit earlier. */
function drawNumber(next: State, t: Transaction): void {
  t.number ||= 1 + Math.max(...next.transactions.map((other) => other.number));
}

function endSteps(state: State, i: number, take: Take): void {
  const t = state.transactions[i] as Transaction;
  if (t.queued) return;
  take(`${nameOf(i)} ${t.operations ? 'rolls back' : 'ends'}`, (next) => {
    (next.transactions[i] as Transaction).phase = 2;
  });
  if (!t.pending.some((change) => change !== untouched)) return;
  take(`${nameOf(i)} commits`, (next) => {
    const own = next.transactions[i] as Transaction;
    own.phase = 2;
    for (const key of keys) {
      if (own.pending[key] === untouched) continue;
      const row = after(own.pending[key], noRow);
      if (next.swapped) next.target[key] = next.truth[key] = row;
      else next.source[key] = row;
      for (const other of next.transactions) if (other.snapshot.held) other.changed |= 1 << key;
    }
    for (const key of keys) if (own.logged & (1 << key)) next.log[key] |= 1 << i;
  });
}

/** A session that only reads. Before it has looked at S it holds no lock, so nobody waits for it to end. */
function readerSteps(rules: Rules, state: State, take: Take): void {
  const who =
    rules.reader === 'stable function'
      ? 'a statement that is to read s in a STABLE function'
      : 'a reader in REPEATABLE READ';
  if (!state.reader.held) {
    if (!state.swapped) take(`${who} takes its snapshot`, (next) => takeSnapshot(next, next.reader));
    return;
  }
  take(`${who} ends`, (next) => dropSnapshot(next.reader));
  const byStart = rules.without === 'age of a snapshot told by its transaction alone';
  if (rules.reader === 'imported snapshot' && byStart && state.reader.beforeDrain) {
    take('a transaction that began just now imports the snapshot of the reader, which ends', (next) => {
      next.reader.beforeDrain = 0; // by its own start, which is what the cutover goes by
    });
  }
}
