import { noRow, type Pair, type Session, type State, writtenBy } from './state.ts';

/**
 * Values that nobody will write any more are alike, and so are transactions that are over: states that differ only in
 * which is which are one. Renames them in the order in which they appear. Names in a counterexample would change from
 * step to step, so the search for one does without.
 */
export function renameAlike(state: State): void {
  renameRows(state);
  renameLogRows(state);
}

const sessionsOf = (state: State): Session[] => [...state.holders, ...state.zombies];

function renameRows(state: State): void {
  const names = [1, 2];
  for (const [i, t] of state.transactions.entries()) if (t.phase === 2) names.push(writtenBy(i));
  const free = [...names];
  const renamed = new Map<number, number>();
  const rename = (row: number) => {
    if (row === noRow || !names.includes(row)) return row;
    if (!renamed.has(row)) renamed.set(row, free.shift() as number);
    return renamed.get(row) as number;
  };
  const renameBoth = (pair: Pair, shift: number) => {
    if (pair[0] > shift) pair[0] = rename(pair[0] - shift) + shift;
    if (pair[1] > shift) pair[1] = rename(pair[1] - shift) + shift;
  };
  for (const rows of [state.source, state.target, state.truth]) renameBoth(rows, 0);
  for (const t of state.transactions) renameBoth(t.pending, 1);
  for (const session of sessionsOf(state)) renameBoth(session.writes, 1);
}

function renameLogRows(state: State): void {
  const over: number[] = [];
  for (const [i, t] of state.transactions.entries()) if (t.phase === 2) over.push(i);
  if (over.length < 2) return;
  const bits = [state.log, ...sessionsOf(state).map((session) => session.consumed)];
  // one number for each transaction: where it has log rows, and who has taken them
  const columnOf = (i: number) =>
    bits.reduce((sum, pair) => sum * 4 + ((pair[0] >> i) & 1) * 2 + ((pair[1] >> i) & 1), 0);
  const columns = over.map(columnOf).sort((one, other) => other - one);
  for (const [place, i] of over.entries()) {
    let column = columns[place] as number;
    for (const pair of [...bits].reverse()) {
      pair[0] = (pair[0] & ~(1 << i)) | (((column >> 1) & 1) << i);
      pair[1] = (pair[1] & ~(1 << i)) | ((column & 1) << i);
      column >>= 2;
    }
  }
}
