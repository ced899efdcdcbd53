import { cutoverHoldsLanes, mayLockToRead } from './locks.ts';
import type { Rules } from './rules.ts';
import {
  after,
  changeTo,
  IN_PROGRESS,
  keys,
  lanes,
  modes,
  noRow,
  type Pair,
  type Session,
  SHADOWING,
  STOPPED,
  type State,
  session,
  UNIQUE,
  untouched,
} from './state.ts';
import { keyName, rowsName, type Take } from './words.ts';

/** Where a lane's session is in its transaction. From `refreshed` on it holds the lane's row and locks on S and T. */
const at = { idle: 0, looked: 1, refreshed: 2, worked: 3, collided: 4 } as const;

/** Log rows of a key by which it counts as changed. */
export function pendingLog(rules: Rules, state: State, key: number): number {
  const rows = state.log[key] as number;
  if (rules.without !== 'cursor instead of delete by identity' || !rows) return rows;
  const done = state.cursor[laneOf(rules, key)] as number;
  return numbered(state, rows, (number) => number > done);
}

/** Those of the log rows whose number is such. A row has the number that its transaction drew when it wrote it. */
function numbered(state: State, rows: number, such: (number: number) => boolean): number {
  return state.transactions.reduce((bits, t, i) => (such(t.number) ? bits : bits & ~(1 << i)), rows);
}

export const laneOf = (rules: Rules, key: number) => (rules.lanes === 1 ? 0 : key);

function keysOf(rules: Rules, lane: number, mode: number): readonly number[] {
  if (mode === UNIQUE) return lane === 0 ? keys : [];
  return keys.filter((key) => laneOf(rules, key) === lane);
}

interface Worker {
  readonly lane: number;
  readonly zombie: boolean;
  readonly name: string;
}

const sessionOf = (state: State, { lane, zombie }: Worker) =>
  (zombie ? state.zombies : state.holders)[lane] as Session;
const besideOf = (state: State, { lane, zombie }: Worker) =>
  (zombie ? state.holders : state.zombies)[lane] as Session;
function setSession(state: State, { lane, zombie }: Worker, to: Session): void {
  (zombie ? state.zombies : state.holders)[lane] = to;
}

export function laneSteps(rules: Rules, state: State, take: Take): void {
  for (const lane of lanes) {
    if (lane >= rules.lanes) continue;
    workerSteps(rules, state, { lane, zombie: false, name: `lane ${lane}` }, take);
    const zombie = { lane, zombie: true, name: `the zombie of lane ${lane}` };
    if (state.zombieAlive[lane]) zombieSteps(rules, state, zombie, take);
    if (rules.without === 'client-side copy beside the applier') copierSteps(rules, state, lane, take);
    takeOverSteps(rules, state, lane, take);
  }
}

/** A process dies, or sleeps and is taken for dead. The successor moves the epoch, and ends a transaction that holds the row. */
function takeOverSteps(rules: Rules, state: State, lane: number, take: Take): void {
  const holder = state.holders[lane] as Session;
  if (holder.phase !== at.idle) {
    take(`lane ${lane} is killed, and taken over`, (next) => {
      next.holders[lane] = session();
    });
  }
  if (state.zombiesMade >= rules.zombies) return;
  take(`lane ${lane} sleeps, and is taken over`, (next) => {
    const left = next.holders[lane] as Session;
    const ended = left.phase >= at.refreshed && rules.without !== 'no fencing';
    next.zombies[lane] = ended ? session() : left;
    next.holders[lane] = session();
    next.zombieAlive[lane] = 1;
    next.zombiesMade += 1;
  });
}

function zombieSteps(rules: Rules, state: State, zombie: Worker, take: Take): void {
  if (rules.without === 'no fencing' || rules.without === 'lanes in REPEATABLE READ') {
    workerSteps(rules, state, zombie, take);
    return;
  }
  take(`${zombie.name} wakes, finds no lane row of its epoch, and stops`, (next) => {
    next.zombieAlive[zombie.lane] = 0;
    next.zombies[zombie.lane] = session();
  });
}

/** The transaction of a lane: fence and refresh, then perhaps a chunk, an admission or an eviction, then commit. */
function workerSteps(rules: Rules, state: State, me: Worker, take: Take): void {
  const own = sessionOf(state, me);
  if (own.phase === at.idle && looksFirst(rules)) lookStep(rules, state, me, take);
  else if (own.phase <= at.looked) refreshSteps(rules, state, me, take);
  else if (own.mode === UNIQUE) uniqueSteps(rules, state, me, take);
  else {
    if (own.phase === at.refreshed && own.mode === IN_PROGRESS) chunkStep(rules, state, me, take);
    if (own.phase === at.refreshed && own.mode === SHADOWING) samplingSteps(rules, state, me, take);
    commitStep(rules, state, me, take);
  }
}

const looksFirst = (rules: Rules) =>
  rules.without === 'lane mode read outside the fencing select' ||
  rules.without === 'lanes in REPEATABLE READ';

/** What a lane must not do: find something out before it has locked its row. */
function lookStep(rules: Rules, state: State, me: Worker, take: Take): void {
  const inSnapshot = rules.without === 'lanes in REPEATABLE READ';
  const what = inSnapshot
    ? 'begins, and takes the snapshot of its transaction'
    : `reads its mode, ${modes[state.mode]}`;
  take(`${me.name} ${what}`, (next) => {
    const own = sessionOf(next, me);
    own.phase = at.looked;
    own.mode = next.mode;
    if (inSnapshot) {
      own.seen = [...next.source];
      own.seenLog = [...next.log];
    }
  });
}

/** The lane's row is free, nobody has set it to STOPPED, and S is not locked against us. */
function mayFence(rules: Rules, state: State, me: Worker): boolean {
  if (!mayLockToRead(state)) return false;
  if (rules.without === 'no fencing') return state.mode !== STOPPED;
  const rowIsFree = besideOf(state, me).phase < at.refreshed && !cutoverHoldsLanes(state);
  return rowIsFree && state.mode !== STOPPED;
}

/** Without a fence only locks on rows are left: a statement waits for whoever has changed the T row that it changes. */
const mustWait = (state: State, me: Worker, key: number) =>
  besideOf(state, me).writes[key] !== untouched &&
  (state.source[key] !== noRow || state.target[key] !== noRow);

/** One statement: takes log rows by identity, and makes T agree with S for their keys, by one snapshot. */
function refreshSteps(rules: Rules, state: State, me: Worker, take: Take): void {
  if (!mayFence(rules, state, me)) return;
  const looked = sessionOf(state, me);
  const inSnapshot = rules.without === 'lanes in REPEATABLE READ';
  const mode = rules.without === 'lane mode read outside the fencing select' ? looked.mode : state.mode;
  const mine = keysOf(rules, me.lane, mode);
  const log: Pair = [0, 0];
  for (const key of mine) {
    log[key] = inSnapshot ? (looked.seenLog[key] as number) : pendingLog(rules, state, key);
    const gone = log[key] & ~(state.log[key] as number);
    if (gone) {
      take(`${me.name} wants to delete a log row that is gone, and fails with 40001`, (next) =>
        setSession(next, me, session()),
      );
      return;
    }
    if (log[key] && besideOf(state, me).consumed[key]) return;
    if (log[key] && mustWait(state, me, key)) return;
  }
  const isDone =
    mode !== IN_PROGRESS || state.passed[me.lane] || rules.without === 'client-side copy beside the applier';
  const nothingToDo = !log[0] && !log[1] && isDone && !(mode === SHADOWING && rules.sampling);
  if (nothingToDo && !inSnapshot) return;
  for (const consumed of rules.without === 'cursor instead of delete by identity' ? [log] : batches(log)) {
    const dirty = mine.filter((key) => consumed[key]);
    const source = inSnapshot ? looked.seen : state.source;
    const fresh =
      mode === SHADOWING && dirty.some((key) => state.target[key] === noRow && source[key] !== noRow);
    for (const admits of fresh && rules.sampling ? [false, true] : [false]) {
      const words = dirty.length
        ? `takes log rows of ${dirty.map(keyName).join(' and ')}`
        : 'finds no log rows';
      take(
        `${me.name} ${words}${fresh ? (admits ? ', and admits the new row' : ', which is no member') : ''}`,
        (next) => {
          const own = sessionOf(next, me);
          own.phase = at.refreshed;
          own.mode = mode;
          own.consumed = [...consumed];
          for (const key of dirty) {
            const isMember = state.target[key] !== noRow || admits;
            if (mode === UNIQUE) own.writes[key] = changeTo(noRow);
            else if (mode === IN_PROGRESS || isMember) refreshKey(rules, own, key, source[key] as number);
          }
        },
      );
    }
  }
}

function refreshKey(rules: Rules, own: Session, key: number, row: number): void {
  own.writes[key] = changeTo(row);
  // both keys begin with the same column, and the other row goes too
  if (rules.without === 'first column of a composite key only' && row === noRow)
    own.writes[1 - key] = changeTo(noRow);
}

/** All log rows, or, as a batch has a limit, any one of them. */
function batches(log: Pair): Pair[] {
  const single: Pair[] = [];
  for (const key of keys)
    for (let bit = 1; bit <= log[key]; bit <<= 1)
      if (log[key] & bit) single.push(key === 0 ? [bit, 0] : [0, bit]);
  return single.length > 1 ? [log, ...single] : [log];
}

/** One statement: inserts what T lacks, and moves the cursor. */
function chunkStep(rules: Rules, state: State, me: Worker, take: Take): void {
  if (state.passed[me.lane] || rules.without === 'client-side copy beside the applier') return;
  if (besideOf(state, me).moved) return; // the range's row is locked
  const mine = keysOf(rules, me.lane, IN_PROGRESS);
  if (mine.some((key) => mustWait(state, me, key))) return;
  const source = rules.without === 'lanes in REPEATABLE READ' ? sessionOf(state, me).seen : state.source;
  take(
    `${me.name} copies its chunk: S is ${rowsName(mine.length > 1 ? source : keys.map((key) => (mine.includes(key) ? (source[key] as number) : noRow)))}`,
    (next) => {
      const own = sessionOf(next, me);
      own.phase = at.worked;
      own.moved = 1;
      for (const key of mine) {
        if (after(own.writes[key], next.target[key]) === noRow && source[key] !== noRow)
          own.writes[key] = changeTo(source[key] as number);
      }
    },
  );
}

/** The sampler's orders: any row may be wanted, and any member may be told to leave. */
function samplingSteps(rules: Rules, state: State, me: Worker, take: Take): void {
  if (!rules.sampling) return;
  for (const key of keysOf(rules, me.lane, SHADOWING)) {
    if (mustWait(state, me, key)) continue;
    const present = after(sessionOf(state, me).writes[key], state.target[key]) !== noRow;
    const row = state.source[key] as number;
    if (!present && row === noRow) continue;
    take(`${me.name} ${present ? 'evicts' : 'admits'} ${keyName(key)}`, (next) => {
      const own = sessionOf(next, me);
      own.phase = at.worked;
      own.writes[key] = changeTo(present ? noRow : row);
    });
  }
}

/** The second half of a refresh where T has unique values: f(S) comes in at a later snapshot; dirty owners step aside. */
function uniqueSteps(rules: Rules, state: State, me: Worker, take: Take): void {
  const own = sessionOf(state, me);
  if (own.phase === at.worked) {
    commitStep(rules, state, me, take);
    return;
  }
  const inT = (key: number) => after(own.writes[key], state.target[key]);
  if (own.phase === at.collided) {
    const dirty = keys.filter(
      (key) => pendingLog(rules, state, key) & ~(own.consumed[key] as number) && inT(key) !== noRow,
    );
    if (!dirty.length || rules.without === 'unique swap without the dirty-owner rule') {
      take(`${me.name} stops the migration: UNIQUE_VIOLATED`, (next) => {
        next.refused = 1;
        setSession(next, me, session());
      });
    } else {
      take(`${me.name} lets ${dirty.map(keyName).join(' and ')} step aside in T`, (next) => {
        sessionOf(next, me).phase = at.refreshed;
        for (const key of dirty) sessionOf(next, me).writes[key] = changeTo(noRow);
      });
    }
    return;
  }
  const taken = keys.filter((key) => own.consumed[key] && state.source[key] !== noRow);
  const collides = taken.some((key) => inT(1 - key) === state.source[key] && !own.consumed[1 - key]);
  take(
    `${me.name} inserts f(S) for ${taken.map(keyName).join(' and ') || 'no key'}${collides ? ', and collides (23505)' : ''}`,
    (next) => {
      const session = sessionOf(next, me);
      session.phase = collides ? at.collided : at.worked;
      if (!collides) for (const key of taken) session.writes[key] = changeTo(next.source[key] as number);
    },
  );
}

function commitStep(rules: Rules, state: State, me: Worker, take: Take): void {
  const { consumed, writes, moved } = sessionOf(state, me);
  if (
    !consumed[0] &&
    !consumed[1] &&
    !writes[0] &&
    !writes[1] &&
    !moved &&
    rules.without !== 'lanes in REPEATABLE READ'
  )
    return;
  take(`${me.name} commits`, (next) => {
    for (const key of keys) {
      if (rules.without === 'cursor instead of delete by identity')
        moveCursor(rules, next, key, consumed[key] as number);
      else next.log[key] &= ~(consumed[key] as number);
      next.target[key] = after(writes[key], next.target[key]);
    }
    if (moved) next.passed[me.lane] = 1;
    setSession(next, me, session());
  });
}

function moveCursor(rules: Rules, next: State, key: number, consumed: number): void {
  const lane = laneOf(rules, key);
  for (const [i, t] of next.transactions.entries())
    if (consumed & (1 << i)) next.cursor[lane] = Math.max(next.cursor[lane] as number, t.number);
}

/** The obvious way: a client reads rows and inserts them later, while the lane applies changes. */
function copierSteps(rules: Rules, state: State, lane: number, take: Take): void {
  if (!mayLockToRead(state) || state.mode !== IN_PROGRESS || state.passed[lane]) return;
  const copier = state.zombies[lane] as Session;
  const mine = keysOf(rules, lane, IN_PROGRESS);
  if (copier.phase === at.idle) {
    take(`the copier of lane ${lane} reads rows of S`, (next) => {
      const own = next.zombies[lane] as Session;
      own.phase = at.looked;
      own.seen = [...next.source];
    });
    return;
  }
  if (mine.some((key) => (state.holders[lane] as Session).writes[key])) return;
  take(`the copier of lane ${lane} inserts the rows that it has read`, (next) => {
    for (const key of mine) if (next.target[key] === noRow) next.target[key] = copier.seen[key] as number;
    next.passed[lane] = 1;
    next.zombies[lane] = session();
  });
}
