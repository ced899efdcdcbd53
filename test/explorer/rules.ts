/** Safeties of the protocol that can be switched off, one at a time. */
export const mutations = [
  'client-side copy beside the applier',
  'cursor instead of delete by identity',
  'single-batch drain',
  'first column of a composite key only',
  'no fencing',
  "refresh without OLD's key",
  'overlay without the key-log branch',
  'lane mode read outside the fencing select',
  'lanes in REPEATABLE READ',
  'drain inside the cutover transaction',
  'key equality instead of key image',
  'unique swap without the dirty-owner rule',
  'cutover session in REPEATABLE READ',
  'cursors kept when going back to SHADOWING',
  'older snapshots not waited for',
  'no guard for older snapshots',
  'overlay without the gate',
  'brief stop in spite of STABLE functions',
  'guard that lets the session live',
  'snapshots looked at once',
  'age of a snapshot told by its transaction alone',
] as const;
export type Mutation = (typeof mutations)[number];

export type Operation = 'write' | 'delete' | 'change key' | 'swap values' | 'pass value on';

/** What a model has: which actors, how much they may do, and which safety is missing. */
export interface Rules {
  readonly name: string;
  readonly about: string;
  /** operations that each transaction may do before it ends */
  readonly transactions: readonly number[];
  readonly operations: readonly Operation[];
  readonly isolation: 'read committed' | 'repeatable read' | 'either';
  /** transactions may read S before they write it, and keep that lock */
  readonly reads: boolean;
  /** transactions go on after this error, from a savepoint, with the snapshot they had */
  readonly savepoints: 'none' | 'after 40001' | 'after lock_timeout';
  readonly reader: 'none' | 'repeatable read' | 'stable function' | 'imported snapshot';
  /** T is a full copy at the beginning */
  readonly copied: boolean;
  readonly mode: 'SHADOWING' | 'IN_PROGRESS' | 'UNIQUE';
  /** how often the mode of lanes changes: read cutover, back, read cutover … */
  readonly modeChanges: number;
  /** lanes that work; the others have no keys */
  readonly lanes: 1 | 2;
  /** how many sessions are left behind as zombies */
  readonly zombies: number;
  /** the sampler puts rows into T and takes them out while shadowing */
  readonly sampling: boolean;
  readonly cutover: readonly ('eased' | 'brief')[];
  /** keys a and b are equal, and differ by image only: S holds one of them at a time */
  readonly equalKeys: boolean;
  readonly without: Mutation | null;
}

const plain: Rules = {
  name: '',
  about: '',
  transactions: [1, 1],
  operations: ['write', 'delete', 'change key'],
  isolation: 'read committed',
  reads: false,
  savepoints: 'none',
  reader: 'none',
  copied: false,
  mode: 'IN_PROGRESS',
  modeChanges: 0,
  lanes: 2,
  zombies: 0,
  sampling: false,
  cutover: [],
  equalKeys: false,
  without: null,
};

export const rules = (name: string, about: string, own: Partial<Rules>): Rules => ({
  ...plain,
  name,
  about,
  ...own,
});
