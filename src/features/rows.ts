import { rowPhases } from './phase.ts';
import type { FeatureSpec } from './spec.ts';

/**
 * Where a row's numbers are: everything about one row lies together, so that an event touches three cache lines and one
 * page. Strides are elements of the views of {@link RowState}, the rest positions of elements within a row.
 */
export interface RowLayout {
  /** 88 bytes a row, and 104 more where the horizon is short enough for both seasons */
  readonly bytes: number;
  readonly stride64: number;
  readonly stride32: number;
  readonly stride16: number;
  /** accesses, then changes, at each half-life of the spec (f32) */
  readonly counters: number;
  /** accesses ever (f32) */
  readonly total: number;
  /** changes ever (f32) */
  readonly changes: number;
  /** (i32) */
  readonly group: number;
  /** by season: accesses by phase, whole numbers that stop at 65,535 (u16) */
  readonly phases: readonly number[];
}

/** Times of a row, seconds (f64). The first is also the time to which its counters are decayed. */
export const LAST_ACCESS = 0;
/** −Infinity: never */
export const LAST_CHANGE = 1;
export const FIRST_SEEN = 2;
const TIMES = 3;

/** What is remembered about every row, by slot: four views of one shared memory, which threads read without a copy. */
export interface RowState {
  readonly layout: RowLayout;
  readonly f64: Float64Array;
  readonly f32: Float32Array;
  readonly i32: Int32Array;
  readonly u16: Uint16Array;
}

export function rowLayout(spec: FeatureSpec): RowLayout {
  const counters = 2 * TIMES;
  const total = counters + spec.accessHalfLives.length + spec.changeHalfLives.length;
  const changes = total + 1;
  const group = changes + 1;
  let end = 2 * (group + 1);
  const phases = spec.seasons.map((season) => {
    const at = end;
    end += rowPhases[season].count;
    return at;
  });
  const bytes = Math.ceil(end / 4) * 8;
  const strides = { stride64: bytes / 8, stride32: bytes / 4, stride16: bytes / 2 };
  return { bytes, ...strides, counters, total, changes, group, phases };
}

/** More rows than a map of keys can hold. Address space is set aside for so many, memory is not. */
const MOST_ROWS = 2 ** 24;
/** Up to here memory is copied to grow: most engines stay small. */
const SMALL_ROWS = 2 ** 16;

/** Room for `capacity` rows, none used yet. */
export function rowState(spec: FeatureSpec, capacity: number): RowState {
  const layout = rowLayout(spec);
  return views(layout, sharedMemory(capacity, layout.bytes), capacity);
}

/** More room: twice as much while it is little, else 3 % and in place, so that nothing is there twice. */
export function grown(old: RowState): RowState {
  const { layout } = old;
  const rows = old.f64.length / layout.stride64;
  if (rows < SMALL_ROWS) {
    const larger = views(layout, sharedMemory(rows * 2, layout.bytes), rows * 2);
    larger.f64.set(old.f64);
    return larger;
  }
  const capacity = rows + Math.ceil(rows / 32);
  const buffer = old.f64.buffer as GrowableMemory;
  if (capacity * layout.bytes > buffer.maxByteLength) {
    throw new RangeError(`an engine holds at most ${MOST_ROWS} keys`);
  }
  buffer.grow(capacity * layout.bytes);
  return views(layout, buffer, capacity);
}

/** Part of ES2024, which Node.js 20 has and the compiler's library of ES2023 does not. */
interface GrowableMemory extends SharedArrayBuffer {
  readonly maxByteLength: number;
  grow(bytes: number): void;
}

function sharedMemory(rows: number, rowBytes: number): SharedArrayBuffer {
  if (rows < SMALL_ROWS) return new SharedArrayBuffer(rows * rowBytes);
  const Growable = SharedArrayBuffer as unknown as new (
    bytes: number,
    options: { maxByteLength: number },
  ) => GrowableMemory;
  return new Growable(rows * rowBytes, { maxByteLength: MOST_ROWS * rowBytes });
}

/** Of fixed length: such views are as fast over memory that grows as over any other. */
function views(layout: RowLayout, buffer: SharedArrayBuffer, rows: number): RowState {
  return {
    layout,
    f64: new Float64Array(buffer, 0, rows * layout.stride64),
    f32: new Float32Array(buffer, 0, rows * layout.stride32),
    i32: new Int32Array(buffer, 0, rows * layout.stride32),
    u16: new Uint16Array(buffer, 0, rows * layout.stride16),
  };
}
