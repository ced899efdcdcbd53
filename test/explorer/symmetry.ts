import { noRow, type Pair, type Row, type State, writtenBy } from './state.ts';

/**
 * Values that nobody will write any more are alike, and so are transactions that are over: states that differ only in
 * which is which are one. Renames them in the order in which they appear. Names in a counterexample would change from
 * step to step, so the search for one does without.
 */
export function renameAlike(state: State): void {
  renameRows(state);
  renameLogRows(state);
}

const sessionsOf = (state: State) => [...state.holders, ...state.zombies];

/** Gives rows that are alike their names in order of appearance; other rows keep theirs. */
class Names {
  readonly #free: Row[];
  /** by row: whether it may be renamed, and its new name */
  readonly #alike: boolean[] = [];
  readonly #names: Row[] = [];

  constructor(alike: readonly Row[]) {
    this.#free = [...alike];
    for (const row of alike) this.#alike[row] = true;
  }

  of(row: Row): Row {
    if (row === noRow || !this.#alike[row]) return row;
    this.#names[row] ||= this.#free.shift() as Row;
    return this.#names[row] as Row;
  }

  /** @param shift 1 where the pair holds changes, which are rows + 1 */
  rename(pair: Pair, shift = 0): void {
    if (pair[0] > shift) pair[0] = this.of(pair[0] - shift) + shift;
    if (pair[1] > shift) pair[1] = this.of(pair[1] - shift) + shift;
  }
}

function renameRows(state: State): void {
  const alike: Row[] = [1, 2];
  for (let i = 0; i < state.transactions.length; i++)
    if (state.transactions[i]?.phase === 2) alike.push(writtenBy(i));
  const names = new Names(alike);
  names.rename(state.source);
  names.rename(state.target);
  names.rename(state.truth);
  for (const t of state.transactions) names.rename(t.pending, 1);
  for (const session of sessionsOf(state)) {
    names.rename(session.writes, 1);
    names.rename(session.seen);
  }
}

function renameLogRows(state: State): void {
  const over: number[] = [];
  for (let i = 0; i < state.transactions.length; i++) if (state.transactions[i]?.phase === 2) over.push(i);
  if (over.length < 2) return;
  const bits: Pair[] = [state.log];
  for (const session of sessionsOf(state)) bits.push(session.consumed, session.seenLog);
  const columns: number[] = [];
  for (const i of over) columns.push(column(bits, i));
  columns.sort(descending);
  for (let place = 0; place < over.length; place++)
    setColumn(bits, over[place] as number, columns[place] as number);
}

const descending = (one: number, other: number) => other - one;

/** Where transaction i has log rows, and who has taken them, as one number. */
function column(bits: readonly Pair[], i: number): number {
  let sum = 0;
  for (const pair of bits) sum = sum * 4 + ((pair[0] >> i) & 1) * 2 + ((pair[1] >> i) & 1);
  return sum;
}

function setColumn(bits: readonly Pair[], i: number, value: number): void {
  let rest = value;
  for (let place = bits.length - 1; place >= 0; place--, rest >>= 2) {
    const pair = bits[place] as Pair;
    pair[0] = (pair[0] & ~(1 << i)) | (((rest >> 1) & 1) << i);
    pair[1] = (pair[1] & ~(1 << i)) | ((rest & 1) << i);
  }
}
