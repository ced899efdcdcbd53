import { laneOf, pendingLog } from './lanes.ts';
import type { Rules } from './rules.ts';
import { after, keys, noRow, type Pair, type State } from './state.ts';
import { keyName, rowName, rowsName } from './words.ts';

/** The invariants of docs/model.md. What is wrong in this state, in words; null when nothing is. */
export function wrong(rules: Rules, state: State): string | null {
  return (
    overlayIsWrong(rules, state) ??
    targetIsWrong(rules, state) ??
    readsStaleRows(state) ??
    (state.slippedBy ? 'a statement by a snapshot from before the swap has changed the new table' : null) ??
    (state.refused ? 'the migration was refused for a unique value that no two rows of S share' : null)
  );
}

/** For every snapshot that could be taken now, and every transaction's own view, the overlay equals f(S). */
function overlayIsWrong(rules: Rules, state: State): string | null {
  const changed: Pair = [pendingLog(rules, state, 0), pendingLog(rules, state, 1)];
  const found = compareOverlay(rules, state, state.source, changed);
  if (found) return found;
  if (state.swapped) return null;
  for (const [i, t] of state.transactions.entries()) {
    // An older snapshot: of each key its own change, seen together with its log row, or what was compared at the time
    if (t.phase !== 1 || t.repeatableRead) continue;
    const source: Pair = [after(t.pending[0], state.source[0]), after(t.pending[1], state.source[1])];
    const log: Pair = [changed[0] | (t.logged & 1), changed[1] | (t.logged & 2)];
    const inside = compareOverlay(rules, state, source, log);
    if (inside) return `inside transaction ${i + 1}: ${inside}`;
  }
  return null;
}

function compareOverlay(rules: Rules, state: State, source: Pair, log: Pair): string | null {
  const right = state.swapped ? state.truth : source;
  const gateOpen = !state.swapped || rules.without === 'overlay without the gate';
  const ignoresLog = rules.without === 'overlay without the key-log branch';
  const shown = keys.map((key) => {
    const dirty = log[key] !== 0 && !ignoresLog;
    const target = state.target[key] as number;
    if (!dirty && target !== noRow) return target;
    return gateOpen ? (source[key] as number) : noRow;
  });
  if (shown.every((row, key) => row === right[key])) return null;
  return `the overlay shows ${rowsName(shown)}, ${state.swapped ? 'the table is' : 'f(S) is'} ${rowsName(right)}`;
}

/** Before the swap: what differs is dirty. After it: nothing differs. */
function targetIsWrong(rules: Rules, state: State): string | null {
  for (const key of keys) {
    const target = state.target[key] as number;
    const right = (state.swapped ? state.truth : state.source)[key] as number;
    if (target === right) continue;
    const values = `T has ${rowName(target)} for ${keyName(key)}, ${state.swapped ? 'the table must have' : 'S has'} ${rowName(right)}`;
    if (state.swapped) return `after the swap ${values}`;
    if (pendingLog(rules, state, key)) continue;
    if (target !== noRow) return `${values}, and no log row is pending`;
    if (state.passed[laneOf(rules, key)])
      return `${values}, its cursor has passed, and no log row is pending`;
  }
  return null;
}

/** After the swap the name of S leads to T, for snapshots from before it too. A session that queues cannot read. */
function readsStaleRows(state: State): string | null {
  if (!state.swapped) return null;
  const stale = 'would read stale rows by the name of S: by its snapshot T is not f(S)';
  if (state.reader.held && state.reader.behind) return `the reader ${stale}`;
  const i = state.transactions.findIndex(
    (t) => t.phase === 1 && !t.queued && t.snapshot.held && t.snapshot.behind,
  );
  return i < 0 ? null : `transaction ${i + 1} ${stale}`;
}
