import { type Mutation, type Rules, rules } from './rules.ts';

/** The protocol as it is: in none of these may anything go wrong. */
export const protocol: readonly Rules[] = [
  rules(
    'copy and swap',
    'three transactions while two lanes copy, then the gentle cutover; a reader holds a snapshot',
    {
      transactions: [1, 1, 1],
      reader: 'repeatable read',
      cutover: ['eased'],
    },
  ),
  rules(
    'everything at once',
    'from shadowing to the swap, in both isolation levels; a reader, lanes that die',
    {
      transactions: [1, 1],
      isolation: 'either',
      mode: 'SHADOWING',
      modeChanges: 1,
      sampling: true,
      reader: 'repeatable read',
      cutover: ['eased'],
    },
  ),
  rules(
    'late writers',
    'the copy is complete; a transaction of two operations among three, in both isolation levels',
    {
      transactions: [2, 1, 1],
      copied: true,
      isolation: 'either',
      reader: 'repeatable read',
      cutover: ['eased'],
    },
  ),
  rules(
    'membership',
    'shadowing: rows are admitted and evicted; read cutover, back, and again; lanes sleep and are taken over',
    {
      transactions: [1, 1],
      mode: 'SHADOWING',
      modeChanges: 3,
      sampling: true,
      zombies: 1,
      cutover: ['eased'],
    },
  ),
  rules(
    'read, then write',
    'transactions keep their read lock while they queue for the write; gentle cutover and brief stop',
    {
      transactions: [1, 1, 1],
      reads: true,
      cutover: ['eased', 'brief'],
    },
  ),
  rules('unique values', 'T has a unique index; values are swapped and passed on between rows', {
    transactions: [2, 1, 1],
    operations: ['write', 'delete', 'change key', 'swap values', 'pass value on'],
    copied: true,
    mode: 'UNIQUE',
    cutover: ['eased'],
  }),
  rules(
    'keys equal but not the same',
    'a and b are equal and differ by image (1.0 and 1.00), and map to different keys',
    {
      transactions: [2, 2, 1],
      lanes: 1,
      equalKeys: true,
      cutover: ['eased'],
    },
  ),
];

const broken = (without: Mutation, about: string, own: Partial<Rules>): Rules =>
  rules(without, about, { without, ...own });

/** The protocol with one safety switched off, in the smallest setting that needs it: each must go wrong. */
export const mutants: readonly Rules[] = [
  broken('client-side copy beside the applier', 'a copier reads rows and inserts them later', {
    transactions: [1],
  }),
  broken('cursor instead of delete by identity', 'a lane takes log rows with higher numbers than the last', {
    copied: true,
    lanes: 1,
  }),
  broken('single-batch drain', 'the brief stop refreshes one batch and does not look again', {
    copied: true,
    cutover: ['brief'],
  }),
  broken('first column of a composite key only', 'a and b share the first column of their key', {
    copied: true,
    transactions: [1],
  }),
  broken('no fencing', 'no epoch, and no lock on the row of a lane', { transactions: [1], zombies: 1 }),
  broken("refresh without OLD's key", 'a key change writes the new key into the log only', {
    copied: true,
    transactions: [2],
  }),
  broken('overlay without the key-log branch', 'T if it has the row, else S', {
    copied: true,
    transactions: [1],
  }),
  broken('lane mode read outside the fencing select', 'the mode is read first, the row is locked later', {
    transactions: [1, 1],
    lanes: 1,
    modeChanges: 2,
  }),
  broken(
    'lanes in REPEATABLE READ',
    'two sessions serve one lane in turn, kept apart by the lock on its row',
    {
      transactions: [1],
      zombies: 1,
    },
  ),
  broken('drain inside the cutover transaction', 'the brief stop, with readers in REPEATABLE READ', {
    copied: true,
    transactions: [1],
    reader: 'repeatable read',
    cutover: ['brief'],
  }),
  broken('key equality instead of key image', 'a change from 1.0 to 1.00 counts as no key change', {
    copied: true,
    lanes: 1,
    equalKeys: true,
    transactions: [1],
  }),
  broken('unique swap without the dirty-owner rule', 'a collision stops the migration at once', {
    copied: true,
    mode: 'UNIQUE',
    operations: ['swap values'],
    transactions: [1],
  }),
  broken('cutover session in REPEATABLE READ', 'default_transaction_isolation was not written over', {
    copied: true,
    transactions: [1],
    cutover: ['eased'],
  }),
  broken('cursors kept when going back to SHADOWING', 'what was passed is not copied again', {
    transactions: [1, 1],
    lanes: 1,
    modeChanges: 2,
  }),
  broken('older snapshots not waited for', 'the swap follows the drain at once', {
    copied: true,
    transactions: [1],
    reader: 'repeatable read',
    cutover: ['eased'],
  }),
  broken('no guard for older snapshots', 'writers that queued in REPEATABLE READ go on', {
    copied: true,
    transactions: [1, 1],
    isolation: 'repeatable read',
    cutover: ['eased'],
  }),
  broken('overlay without the gate', 'the branches of S stay open after the swap', {
    copied: true,
    transactions: [1],
    cutover: ['eased'],
  }),
  broken(
    'brief stop in spite of STABLE functions',
    'READ COMMITTED only, but s is read inside a STABLE function',
    {
      copied: true,
      transactions: [1],
      reader: 'stable function',
      cutover: ['brief'],
    },
  ),
  broken(
    'guard that lets the session live',
    'a REPEATABLE READ transaction goes on from a savepoint after 40001',
    {
      copied: true,
      transactions: [1, 1],
      isolation: 'either',
      savepoints: 'after 40001',
      cutover: ['eased'],
    },
  ),
  broken(
    'snapshots looked at once',
    'a REPEATABLE READ transaction leaves the queue without an answer of the guard',
    {
      copied: true,
      transactions: [1, 1],
      isolation: 'either',
      savepoints: 'after lock_timeout',
      cutover: ['eased'],
    },
  ),
  broken('age of a snapshot told by its transaction alone', 'a young transaction imports an old snapshot', {
    copied: true,
    transactions: [1],
    reader: 'imported snapshot',
    cutover: ['eased'],
  }),
];

/** Larger settings of the same, minutes each. */
export const deep: readonly Rules[] = [
  rules('everything at once, zombies', 'lanes die, sleep and are taken over', {
    transactions: [1, 1],
    isolation: 'either',
    mode: 'SHADOWING',
    modeChanges: 1,
    sampling: true,
    zombies: 1,
    reader: 'repeatable read',
    cutover: ['eased'],
  }),
  rules('everything, three transactions, zombies', 'all of READ COMMITTED', {
    transactions: [1, 1, 1],
    mode: 'SHADOWING',
    modeChanges: 1,
    sampling: true,
    zombies: 1,
    reader: 'repeatable read',
    cutover: ['eased'],
  }),
  rules('everything, three transactions, both isolation levels', 'lanes die, but do not sleep', {
    transactions: [1, 1, 1],
    isolation: 'either',
    mode: 'SHADOWING',
    modeChanges: 1,
    sampling: true,
    reader: 'repeatable read',
    cutover: ['eased'],
  }),
];
