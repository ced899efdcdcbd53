import type { Rules } from './rules.ts';

/** A row by its value: 0 is no row, 1 and 2 are what keys a and b held at first, 3 to 5 what a transaction wrote. */
export type Row = number;
export const noRow: Row = 0;
export const writtenBy = (transaction: number): Row => 3 + transaction;

export const keys = [0, 1] as const;
export const lanes = [0, 1] as const;
export type Pair = [number, number];

/** A change that is not committed: 0 leaves the row alone, else 1 + the new row. */
export type Change = number;
export const untouched: Change = 0;
export const changeTo = (row: Row): Change => row + 1;
export const after = (change: Change | undefined, row: Row | undefined): Row =>
  change ? change - 1 : (row as Row);

export const modes = ['SHADOWING', 'IN_PROGRESS', 'UNIQUE', 'STOPPED'] as const;
export const SHADOWING = 0;
export const IN_PROGRESS = 1;
export const UNIQUE = 2;
export const STOPPED = 3;

/** An application transaction. */
export interface Transaction {
  /** 0 not begun, 1 open, 2 over */
  phase: number;
  repeatableRead: number;
  operations: number;
  /** uncommitted changes of S (after the swap: of the new table), by key; a changed key's row is locked */
  pending: Pair;
  /** bit per key: uncommitted rows of the key log */
  logged: number;
  /** has read S, and holds ACCESS SHARE on it */
  reads: number;
  /** waits for its table lock while the cutover holds writers back */
  queued: number;
  snapshot: Snapshot;
  /** bit per key: a row that has changed since the snapshot; to write it fails with 40001 */
  changed: number;
  /** number of its rows in the key log, where those are numbered */
  number: number;
}

/**
 * A snapshot that outlives its statement, kept as what matters of it later. Through the overlay it reads what it would
 * have read at once, and that was checked then; by the name of S it reads T once names are swapped.
 */
export interface Snapshot {
  held: number;
  /** T is not f(S) in it */
  behind: number;
  /** taken before the cutover saw the key log empty */
  beforeDrain: number;
  beforeSwap: number;
}

/** One session that works for a lane, and what it has done but not committed. */
export interface Session {
  phase: number;
  /** the mode it goes by */
  mode: number;
  /** by key, bit per transaction: rows of the key log it has deleted */
  consumed: Pair;
  /** by key: changes of T */
  writes: Pair;
  /** the cursor has passed the keys of this lane */
  moved: number;
  /** by key: rows of S as read earlier; only where a rule is broken */
  seen: Pair;
  seenLog: Pair;
}

export interface State {
  source: Pair;
  target: Pair;
  /** by key, bit per transaction: committed rows of the key log */
  log: Pair;
  /** what the table must hold once it is swapped: the application's own books */
  truth: Pair;
  mode: number;
  /** by lane: its cursor has passed its keys */
  passed: Pair;
  /** by lane: the number up to which rows of the key log are done, where those are numbered */
  cursor: Pair;
  transactions: Transaction[];
  /** a session that only reads, by one snapshot, without a lock on S */
  reader: Snapshot;
  holders: Session[];
  /** sessions whose lane has been taken over while they slept */
  zombies: Session[];
  zombieAlive: Pair;
  zombiesMade: number;
  cutover: number;
  /** the log was empty by the cutover's first snapshot; only where a rule is broken */
  sawEmpty: number;
  swapped: number;
  guard: number;
  modeChanges: number;
  /** the migration has stopped with UNIQUE_VIOLATED */
  refused: number;
  /** a statement by a snapshot from before the swap has changed the new table */
  slippedBy: number;
}

const snapshot = (): Snapshot => ({ held: 0, behind: 0, beforeDrain: 0, beforeSwap: 0 });

export const session = (): Session => ({
  phase: 0,
  mode: 0,
  consumed: [0, 0],
  writes: [0, 0],
  moved: 0,
  seen: [0, 0],
  seenLog: [0, 0],
});

const transaction = (): Transaction => ({
  phase: 0,
  repeatableRead: 0,
  operations: 0,
  pending: [0, 0],
  logged: 0,
  reads: 0,
  queued: 0,
  snapshot: snapshot(),
  changed: 0,
  number: 0,
});

export function initialState(rules: Rules): State {
  const source: Pair = [1, rules.equalKeys ? 0 : 2];
  return {
    source,
    target: rules.copied ? [...source] : [0, 0],
    log: [0, 0],
    truth: [0, 0],
    mode: modes.indexOf(rules.mode),
    passed: rules.copied ? [1, 1] : [0, 0],
    cursor: [0, 0],
    transactions: rules.transactions.map(transaction),
    reader: snapshot(),
    holders: [session(), session()],
    zombies: [session(), session()],
    zombieAlive: [0, 0],
    zombiesMade: 0,
    cutover: 0,
    sawEmpty: 0,
    swapped: 0,
    guard: 0,
    modeChanges: 0,
    refused: 0,
    slippedBy: 0,
  };
}

type Pass = (value: number) => number;

function passPair(pair: Pair, pass: Pass): void {
  pair[0] = pass(pair[0]);
  pair[1] = pass(pair[1]);
}

function passSnapshot(s: Snapshot, pass: Pass): void {
  const bits = pass(s.held | (s.behind << 1) | (s.beforeDrain << 2) | (s.beforeSwap << 3));
  s.held = bits & 1;
  s.behind = (bits >> 1) & 1;
  s.beforeDrain = (bits >> 2) & 1;
  s.beforeSwap = bits >> 3;
}

function passSession(s: Session, pass: Pass): void {
  s.phase = pass(s.phase);
  if (!s.phase) return;
  s.mode = pass(s.mode);
  passPair(s.consumed, pass);
  passPair(s.writes, pass);
  s.moved = pass(s.moved);
  passPair(s.seen, pass);
  passPair(s.seenLog, pass);
}

function passTransaction(t: Transaction, pass: Pass): void {
  t.phase = pass(t.phase);
  t.number = pass(t.number);
  if (t.phase !== 1) return;
  const bits = pass(t.repeatableRead | (t.reads << 1) | (t.queued << 2) | (t.logged << 3) | (t.changed << 5));
  t.repeatableRead = bits & 1;
  t.reads = (bits >> 1) & 1;
  t.queued = (bits >> 2) & 1;
  t.logged = (bits >> 3) & 3;
  t.changed = bits >> 5;
  t.operations = pass(t.operations);
  passPair(t.pending, pass);
  passSnapshot(t.snapshot, pass);
}

/** Every number of a state, in one order, for writing and for reading. */
function passState(s: State, pass: Pass): void {
  for (const pair of [s.source, s.target, s.log, s.truth, s.passed, s.cursor, s.zombieAlive])
    passPair(pair, pass);
  s.mode = pass(s.mode);
  s.cutover = pass(s.cutover);
  s.zombiesMade = pass(s.zombiesMade);
  s.modeChanges = pass(s.modeChanges);
  const bits = pass(s.sawEmpty | (s.swapped << 1) | (s.guard << 2) | (s.refused << 3) | (s.slippedBy << 4));
  s.sawEmpty = bits & 1;
  s.swapped = (bits >> 1) & 1;
  s.guard = (bits >> 2) & 1;
  s.refused = (bits >> 3) & 1;
  s.slippedBy = bits >> 4;
  passSnapshot(s.reader, pass);
  for (const t of s.transactions) passTransaction(t, pass);
  for (const lane of lanes) {
    passSession(s.holders[lane] as Session, pass);
    passSession(s.zombies[lane] as Session, pass);
  }
}

export function encode(state: State): string {
  const numbers: number[] = [];
  passState(state, (value) => {
    numbers.push(value);
    return value;
  });
  return String.fromCharCode(...numbers);
}

export function decode(rules: Rules, text: string): State {
  const state = initialState(rules);
  let at = 0;
  passState(state, () => text.charCodeAt(at++));
  return state;
}
