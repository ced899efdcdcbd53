import { describe, expect, it } from 'vitest';
import { rise } from '../../src/migration/throttle/drive.ts';
import { estimate, estimateAfterwards, type Point, recentPoints } from '../../src/pipeline/estimate.ts';

/** A copy whose full speed is `speed`, under a throttle that rises from `share`; looked at five times a second. */
function copy(total: number, speed: number, from: number): { points: Point[]; seconds: number } {
  const points: Point[] = [];
  let share = from;
  let rows = 0;
  let at = 0;
  for (; rows < total; at += 0.2) {
    points.push({ at, rows, share });
    rows += speed * share * 0.2;
    if (Math.floor((at + 0.2) / 0.5) > Math.floor(at / 0.5)) share = rise(share);
  }
  return { points, seconds: at };
}

const afterTenth = (points: readonly Point[], total: number) => {
  const index = points.findIndex(({ rows }) => rows >= total / 10);
  return { seen: points.slice(0, index + 1), at: points[index]!.at };
};

describe('the time that a copy has left, after a tenth of it', () => {
  it.each([
    ['at full speed all the time', 1, 1e6, 1e4],
    ['that begins gently and is short', 0.25, 2e5, 2e4],
    ['that begins gently and is long', 0.25, 1e7, 2e4],
    ['that was held almost to a stop', 0.02, 1e6, 3e4],
  ])('of one %s: within a fifth', (_, share, total, speed) => {
    const { points, seconds } = copy(total, speed, share);
    const { seen, at } = afterTenth(points, total);
    const { eta } = estimate(seen, total, { held: false, limit: null });
    expect(Math.abs((eta as number) - (seconds - at)) / (seconds - at)).toBeLessThan(0.2);
  });

  it('of one that is held where it is, or limited: at the rate of lately', () => {
    const points = [0, 1, 2, 3].map((at) => ({ at, rows: at * 1000, share: 0.1 }));
    expect(estimate(points, 10_000, { held: true, limit: null })).toEqual({
      rate: 1000,
      eta: 7,
      fullSpeed: expect.closeTo(10_000, 5),
    });
    expect(estimate(points, 10_000, { held: false, limit: 1000 }).eta).toBeCloseTo(7, 5);
    expect(estimate(points, 10_000, { held: true, limit: 100 }).eta, 'a limit that was set just now').toBe(
      70,
    );
    expect(estimate(points, 10_000, { held: false, limit: null }).eta).toBeLessThan(4);
  });

  it('of one that was slowed down at its start, and rises again: at the rate of lately', () => {
    const points = [0.25, 0.06, 0.12, 0.24, 0.48].map((share, at) => ({ at, rows: at * 1000, share }));
    expect(estimate(points, 40_000, { held: false, limit: null }).eta).toBe(36);
    expect(estimate(points.slice(1), 40_000, { held: false, limit: null }).eta).toBeLessThan(20);
  });

  it('of one that was slowed down two minutes ago: at what it was slowed down to', () => {
    let rows = 0;
    const points = Array.from({ length: 150 }, (_, at) => {
      const share = at < 25 ? 1 : 0.1;
      const point = { at, rows, share };
      rows += 1000 * share;
      return point;
    });
    expect(estimate(points, 100_000, { held: true, limit: null }).eta).toBeCloseTo(
      (100_000 - 37_400) / 100,
      0,
    );
  });

  it('of one that is held, and gets slower the more is copied, as changes meet more of its rows', () => {
    const total = 1e6;
    const copyAt = (rowsPerChange: number | null): Point[] => {
      const points: Point[] = [];
      for (let at = 0, rows = 0; rows < total; at++) {
        points.push({ at, rows, share: 0.1, changes: 20 * at, rowsPerChange });
        rows += 5000 - (20 * 80 * rows) / total;
      }
      return points;
    };
    const points = copyAt(80);
    const end = points.length;
    const off = (seen: readonly Point[]) => {
      const left = end - seen.at(-1)!.at;
      return ((estimate(seen, total, { held: true, limit: null }).eta as number) - left) / left;
    };
    // the whole of it, and one that another process has taken up in the middle
    for (const seen of [points, points.slice(150)])
      for (let i = 60; i < seen.length - 20; i++)
        expect(Math.abs(off(seen.slice(0, i + 1))), `after ${i} s`).toBeLessThan(0.04);
    const seen = points.slice(0, 25);
    const costing = (cost: (i: number) => number | null) =>
      off(seen.map((point, i) => ({ ...point, rowsPerChange: cost(i) })));
    expect(costing(() => null)).toBeLessThan(-0.15);
    expect(
      costing((i) => (i % 2 ? 80 : null)),
      'where it can be told',
    ).toBe(off(seen));
    const half = costing((i) => (i % 2 ? 160 : 0));
    expect(Math.abs(half - off(seen)), 'held by something else for half of the time').toBeLessThan(0.02);
    const limited = (limit: number) => estimate(seen, total, { held: true, limit }).eta;
    const left = total - seen.at(-1)!.rows;
    expect(limited(5000), 'at its limit, which it can keep').toBe(left / 5000);
    expect(limited(100)).toBe(left / 100);
    const most = estimate(copyAt(1e9).slice(0, 25), total, { held: true, limit: null }).eta as number;
    expect(most, 'half of its rate is left to it').toBeLessThan((left / 5000) * 1.5);
  });

  it('is not told from nothing', () => {
    expect(estimate([], 100, { held: false, limit: null })).toEqual({
      rate: null,
      eta: null,
      fullSpeed: null,
    });
    const points = [0, 1].map((at) => ({ at, rows: at, share: 1 }));
    expect(estimate(points, 1000, { held: false, limit: null })).toMatchObject({ rate: 1, eta: null });
  });

  it('forgets what it was long ago', () => {
    const points = Array.from({ length: 600 }, (_, at) => ({
      at,
      rows: at < 360 ? at : 360 + (at - 360) * 100,
      share: 1,
    }));
    expect(recentPoints(points, 1000)[0]?.at, 'the latest third').toBe(400);
    expect(recentPoints(points.slice(0, 300), 1000)[0]?.at, 'two minutes').toBe(179);
    expect(estimate(points, 1e5, { held: false, limit: null }).rate).toBe(100);
    expect(recentPoints(points.slice(0, 370), 36_500)[0]?.at, 'how it started').toBe(361);
  });

  it('of one that is slowed down again and again: at its mean, at every moment', () => {
    let rows = 0;
    const points = Array.from({ length: 400 }, (_, i) => {
      const share = [0.1, 0.2, 0.3, 0.4][Math.floor(i / 5) % 4] as number;
      const point = { at: i / 5, rows, share };
      rows += 2000 * share;
      return point;
    });
    for (let end = 150; end < 400; end++) {
      const seen = points.slice(0, end);
      const left = (220_000 - seen.at(-1)!.rows) / 2500;
      const { eta } = estimate(seen, 220_000, { held: end % 3 === 0, limit: null });
      expect(Math.abs((eta as number) - left) / left).toBeLessThan(0.1);
    }
  });

  it('and what comes afterwards, by what is to be built', () => {
    const free = { rate: 100, fullSpeed: 100 };
    const guess = estimateAfterwards(1000, free, 0);
    expect(guess).toBe(20 + 2.5);
    expect(estimateAfterwards(1000, free, 3) - guess).toBe(10);
    const tried = estimateAfterwards(1000, free, 0, 200);
    expect(tried / estimateAfterwards(1000, free, 0, 400), 'twice as fast').toBeCloseTo(2, 9);
    expect(estimateAfterwards(1000, free, 0, 10), 'in the way of the copy').toBe(guess);
    const held = { rate: 50, fullSpeed: 100 };
    expect(estimateAfterwards(1000, held, 0), 'the comparison is held back less').toBeCloseTo(
      20 / 0.75 + 2.5,
      9,
    );
  });
});
