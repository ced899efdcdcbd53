import { rowPhases } from './phase.ts';
import type { FeatureSpec } from './spec.ts';

/**
 * What is remembered about every row, in typed arrays by slot: 88 bytes a row, and 104 more where the horizon is short
 * enough for both seasons. The memory is shared, so that threads can read it without a copy.
 */
export interface RowState {
  /** one row of counters a slot (accesses, then changes): an event touches a few cache lines, not one a counter */
  readonly counters: Float32Array;
  /** also the time to which the counters are decayed: a change is an access too; seconds */
  readonly lastAccess: Float64Array;
  /** −Infinity: never */
  readonly lastChange: Float64Array;
  readonly firstSeen: Float64Array;
  readonly total: Float32Array;
  readonly changes: Float32Array;
  readonly group: Int32Array;
  /** accesses by phase of each of the spec's seasons, whole numbers that stop at 65,535; phases of a slot together */
  readonly phases: readonly Uint16Array[];
}

/** Room for `capacity` rows, beginning with those of `old`. */
export function rowState(spec: FeatureSpec, capacity: number, old?: RowState): RowState {
  const stride = spec.accessHalfLives.length + spec.changeHalfLives.length;
  return {
    counters: filled(Float32Array, capacity * stride, old?.counters),
    lastAccess: filled(Float64Array, capacity, old?.lastAccess),
    lastChange: filled(Float64Array, capacity, old?.lastChange),
    firstSeen: filled(Float64Array, capacity, old?.firstSeen),
    total: filled(Float32Array, capacity, old?.total),
    changes: filled(Float32Array, capacity, old?.changes),
    group: filled(Int32Array, capacity, old?.group),
    phases: spec.seasons.map((season, i) =>
      filled(Uint16Array, capacity * rowPhases[season].count, old?.phases[i]),
    ),
  };
}

interface ArrayType<T> {
  new (buffer: SharedArrayBuffer): T;
  readonly BYTES_PER_ELEMENT: number;
}

function filled<T extends { set(values: T): void }>(
  type: ArrayType<T>,
  length: number,
  old: T | undefined,
): T {
  const array = new type(new SharedArrayBuffer(length * type.BYTES_PER_ELEMENT));
  if (old) array.set(old);
  return array;
}
