import type { Selection } from './measure.ts';
import type { OperationRecord } from './record.ts';

/** How far the copy was in one range of keys; null is an open end, or a cursor that has not moved. */
export interface RangePosition {
  /** exclusive */
  readonly low: number | null;
  /** inclusive */
  readonly high: number | null;
  /** the last key passed */
  readonly cursor: number | null;
  readonly done: boolean;
  /** rows passed */
  readonly copied: number;
}

/** All ranges in key order at one moment, seconds since the epoch. */
export interface CopySample {
  readonly at: number;
  readonly ranges: readonly RangePosition[];
}

/**
 * Ways through the table. Only the first was gone; the others are counted from the same reads at the same times, with
 * the same share of the table passed:
 * - `as_it_went`: the shadow, and what the copy had really passed
 * - `key_order`: the shadow, and the lowest keys
 * - `reverse_key_order`: the shadow, and the highest keys: the newest rows first, where keys are numbers in sequence
 * - `key_order_no_shadow`: the lowest keys alone
 *
 * Rows written since the read cutover are in the target at once whatever the order, and count so for each.
 */
export const copyOrders = ['as_it_went', 'key_order', 'reverse_key_order', 'key_order_no_shadow'] as const;
export type CopyOrder = (typeof copyOrders)[number];
export type ByOrder = Readonly<Record<CopyOrder, number>>;

export interface CoverageCurve {
  /** row reads while the copy ran */
  readonly reads: number;
  /** of the copy, as it was looked at */
  readonly seconds: number;
  /** share of the reads that the target could serve, 0–1, where `copied` of the table (0–1) has been passed */
  readonly points: readonly ({ readonly copied: number } & ByOrder)[];
  /** the mean of that share over the whole way from nothing copied to everything */
  readonly area: ByOrder;
}

/** Reads are pooled over so many equal parts of the way. */
const parts = 20;

/**
 * The share of reads that the target could serve, against the share of the table that the copy had passed. A read
 * counts at the last look before it was due. Between the parts' means the curve is a straight line; at the end it is 1.
 * @param shadow rows that were in the target when the copy began
 * @param samples in order of time
 * @param at shares of the table, 0–1, to show the curve at
 * @returns null for a copy that was not seen to its end, or without reads meanwhile
 */
export function coverageCurve(
  records: readonly OperationRecord[],
  samples: readonly CopySample[],
  shadow: Selection,
  at: readonly number[] = [0.1, 0.25, 0.5, 0.75],
): CoverageCurve | null {
  const first = samples[0];
  const last = samples.at(-1);
  if (!first || !last || last.ranges.length === 0 || !last.ranges.every((range) => range.done)) return null;
  const total = rowsOf(last);
  const placeOf = places(last.ranges);
  const written = writtenSince(records, first.at);
  const bins = Array.from({ length: parts }, () => ({ reads: 0, way: 0, hits: zero() }));
  const sorted = records.filter(
    ({ kind, outcome }) => kind === 'read' && outcome !== 'error' && outcome !== 'unknown',
  );
  sorted.sort((a, b) => a.at - b.at);
  let reads = 0;
  let now = 0;
  for (const record of sorted) {
    if (record.at < first.at) continue;
    while (now + 1 < samples.length && samples[now + 1]!.at <= record.at) now++;
    if (samples[now] === last) break;
    const { ranges } = samples[now]!;
    const copied = total > 0 ? Math.min(1, rowsOf(samples[now]!) / total) : 1;
    const bin = bins[Math.min(parts - 1, Math.floor(copied * parts))]!;
    for (const id of record.ids) {
      const key = Number(id);
      const place = placeOf(key);
      const known = (written.get(String(id)) ?? Number.POSITIVE_INFINITY) <= record.at;
      const kept = known || shadow.has(String(id));
      reads++;
      bin.reads++;
      bin.way += copied;
      if (kept || passed(ranges[rangeOf(ranges, key)]!, key)) bin.hits.as_it_went++;
      if (kept || place < copied) bin.hits.key_order++;
      if (kept || place >= 1 - copied) bin.hits.reverse_key_order++;
      if (known || place < copied) bin.hits.key_order_no_shadow++;
    }
  }
  if (reads === 0) return null;
  const filled = bins.filter((bin) => bin.reads > 0);
  const lines = byOrder((order) => [
    ...filled.map((bin): Point => [bin.way / bin.reads, bin.hits[order] / bin.reads]),
    [1, 1] as Point,
  ]);
  return {
    reads,
    seconds: last.at - first.at,
    points: at.map((copied) => ({ copied, ...byOrder((order) => valueAt(lines[order], copied)) })),
    area: byOrder((order) => areaUnder(lines[order])),
  };
}

type Point = readonly [x: number, y: number];

const byOrder = <T>(of: (order: CopyOrder) => T) =>
  Object.fromEntries(copyOrders.map((order) => [order, of(order)])) as Record<CopyOrder, T>;
const zero = () => byOrder(() => 0);
const rowsOf = (sample: CopySample) => sample.ranges.reduce((sum, range) => sum + range.copied, 0);
const passed = ({ done, cursor }: RangePosition, key: number) => done || (cursor !== null && key <= cursor);

/** Index of the range that holds a key: the first whose high end is not below it. */
function rangeOf(ranges: readonly RangePosition[], key: number): number {
  let low = 0;
  let high = ranges.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (key <= (ranges[middle]!.high ?? Number.POSITIVE_INFINITY)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Key → the share of the rows with lower keys, 0–1. Keys lie evenly within a range, and in the ranges with an open end
 * one after the other.
 */
function places(ranges: readonly RangePosition[]): (key: number) => number {
  let total = 0;
  const before = ranges.map((range) => (total += range.copied) - range.copied);
  return (key) => {
    const i = rangeOf(ranges, key);
    const { low, high, copied } = ranges[i]!;
    const from = low ?? (high === null ? 0 : high - copied);
    const to = high ?? from + copied;
    const within = to > from ? Math.min(1, Math.max(0, (key - from - 1) / (to - from))) : 0;
    return total > 0 ? (before[i]! + within * copied) / total : 0;
  };
}

/** When each row was first written after `time`, by the answers; seconds since the epoch. */
function writtenSince(records: readonly OperationRecord[], time: number): Map<string, number> {
  const written = new Map<string, number>();
  for (const { at, ms, kind, outcome, ids } of records) {
    if ((kind !== 'insert' && kind !== 'update') || outcome !== 'ok' || at < time) continue;
    const answered = at + ms / 1000;
    for (const id of ids) {
      const key = String(id);
      written.set(key, Math.min(answered, written.get(key) ?? answered));
    }
  }
  return written;
}

/** On the line through points in order of x; before the first it is level. */
function valueAt(points: readonly Point[], x: number): number {
  const next = points.findIndex((point) => point[0] >= x);
  const [x1, y1] = points[next < 0 ? points.length - 1 : next]!;
  const [x0, y0] = points[next - 1] ?? [x1, y1];
  return x1 > x0 ? y0 + ((y1 - y0) * (x - x0)) / (x1 - x0) : y1;
}

/** From 0 to 1. */
function areaUnder(points: readonly Point[]): number {
  const line: Point[] = [[0, valueAt(points, 0)], ...points];
  return line.slice(1).reduce((sum, [x, y], i) => sum + ((x - line[i]![0]) * (y + line[i]![1])) / 2, 0);
}
