import { describe, expect, test } from 'vitest';
import { type CopySample, coverageCurve } from '../../src/demo/copy-order.ts';
import type { OperationRecord } from '../../src/demo/record.ts';

const read = (at: number, ...ids: number[]): OperationRecord => ({
  at,
  kind: 'read',
  served: 'overlay',
  ms: 1,
  outcome: 'ok',
  retries: 0,
  ids: ids.map(String),
});
const write = (at: number, id: number, kind: 'insert' | 'update' = 'update'): OperationRecord => ({
  ...read(at, id),
  kind,
});

/** Keys 1 … 100 in four ranges, both ends open; `passed` rows of each. */
const sample = (at: number, ...passed: number[]): CopySample => ({
  at,
  ranges: passed.map((copied, i) => ({
    low: i === 0 ? null : i * 25,
    high: i === 3 ? null : (i + 1) * 25,
    cursor: copied === 0 ? null : i * 25 + copied,
    done: copied === 25,
    copied,
  })),
});

/** The third range first, then the others from below: a quarter of the table each second. */
const thirdFirst = [
  sample(10, 0, 0, 0, 0),
  sample(11, 0, 0, 25, 0),
  sample(12, 25, 0, 25, 0),
  sample(13, 25, 25, 25, 0),
  sample(14, 25, 25, 25, 25),
];
const nobody = new Set<string>();
/** the same rows, ten times a second */
const always = (...ids: number[]) => Array.from({ length: 40 }, (_, i) => read(10.05 + i / 10, ...ids));

describe('the curve of reads that the target could serve', () => {
  test('is early where the copy begins where it is read, and late in key order', () => {
    const curve = coverageCurve(always(60), thirdFirst, nobody, [0, 0.25, 0.5, 0.75, 1])!;
    expect(curve.reads).toBe(40);
    expect(curve.seconds).toBe(4);
    expect(curve.points.map((point) => [point.copied, point.as_it_went, point.key_order])).toEqual([
      [0, 0, 0],
      [0.25, 1, 0],
      [0.5, 1, 0],
      [0.75, 1, 1], // key 60 is the 60th of 100
      [1, 1, 1],
    ]);
    // straight lines between the looks: a quarter of the way is a triangle
    expect(curve.area.as_it_went).toBeCloseTo(0.125 + 0.75);
    expect(curve.area.key_order).toBeCloseTo(0.125 + 0.25);
    expect(curve.area.reverse_key_order).toBeCloseTo(0.125 + 0.5);
    expect(curve.area.key_order_no_shadow).toBe(curve.area.key_order);
  });

  test('says so when key order is the better one', () => {
    const { area } = coverageCurve(always(5), thirdFirst, nobody)!;
    expect(area.key_order).toBeGreaterThan(area.as_it_went);
    expect(area.as_it_went).toBeGreaterThan(area.reverse_key_order);
  });

  test('begins with the shadow, except where there is none', () => {
    const curve = coverageCurve(always(60, 99), thirdFirst, new Set(['99']), [0])!;
    expect(curve.reads).toBe(80);
    expect(curve.points).toEqual([
      { copied: 0, as_it_went: 0.5, key_order: 0.5, reverse_key_order: 0.5, key_order_no_shadow: 0 },
    ]);
  });

  test('counts a cursor in the middle of a range', () => {
    const half = [sample(10, 10, 0, 0, 0), sample(11, 25, 25, 25, 25)];
    const at = (...ids: number[]) => coverageCurve([read(10.5, ...ids)], half, nobody, [0.1])!.points[0]!;
    expect(at(10)).toMatchObject({ as_it_went: 1, key_order: 1, reverse_key_order: 0 });
    expect(at(11)).toMatchObject({ as_it_went: 0, key_order: 0, reverse_key_order: 0 });
    expect(at(90)).toMatchObject({ as_it_went: 0, key_order: 0, reverse_key_order: 0 });
    expect(at(91)).toMatchObject({ as_it_went: 0, key_order: 0, reverse_key_order: 1 });
  });

  test('counts a row written since the cutover from its answer on, in any order', () => {
    const still = [sample(10, 0, 0, 0, 0), sample(14, 25, 25, 25, 25)];
    const records = [write(9, 60), read(10.5, 60), write(11, 60), read(11.0005, 60), read(12, 60)];
    const inserted = [write(11, 130, 'insert'), read(12, 130)];
    const curve = coverageCurve([...records, ...inserted], still, nobody, [0])!;
    expect(curve.points[0]).toEqual({
      copied: 0,
      as_it_went: 0.5,
      key_order: 0.5,
      reverse_key_order: 0.5,
      key_order_no_shadow: 0.5,
    });
  });

  test('leaves out reads before and after the copy, and those without an answer', () => {
    const unanswered = { ...read(11, 60), outcome: 'unknown' } as const;
    const failed = { ...read(11, 60), outcome: 'error' } as const;
    const curve = coverageCurve(
      [read(9.9, 1), read(12.5, 1), unanswered, failed, read(14, 1)],
      thirdFirst,
      nobody,
    );
    expect(curve?.reads).toBe(1);
  });

  test('does not exist for a copy that was not seen to its end, or without reads', () => {
    expect(coverageCurve(always(60), thirdFirst.slice(0, -1), nobody)).toBeNull();
    expect(coverageCurve(always(60), [], nobody)).toBeNull();
    expect(coverageCurve([read(9, 60)], thirdFirst, nobody)).toBeNull();
  });
});
