import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seededRng } from '../../src/core/rng.ts';
import { CalibrationBins, calibrate, calibrated, expectedHitShare } from '../../src/model/calibration.ts';

const score = fc.oneof(fc.constant(0), fc.double({ min: 1e-9, max: 1e6, noNaN: true }));
const rows = fc.array(fc.tuple(score, fc.nat(50)), { minLength: 1, maxLength: 200 });

const fitted = (pairs: readonly (readonly [number, number])[]) => {
  const bins = new CalibrationBins();
  bins.add(
    pairs.map(([predicted]) => predicted),
    pairs.map(([, came]) => came),
  );
  return calibrate(bins, 0);
};

describe('calibration', () => {
  it('never turns a ranking round, and gives finite counts that are not negative', () => {
    fc.assert(
      fc.property(rows, score, score, (pairs, a, b) => {
        const map = fitted(pairs);
        const [low, high] = a < b ? [a, b] : [b, a];
        expect(calibrated(map, low)).toBeLessThanOrEqual(calibrated(map, high));
        expect(calibrated(map, low)).toBeGreaterThanOrEqual(0);
        expect(Number.isFinite(calibrated(map, high))).toBe(true);
      }),
    );
  });

  it('pools to the counts that came: knots ascend, and their mean is the mean of all', () => {
    fc.assert(
      fc.property(rows, (pairs) => {
        const { score: knots, mean } = fitted(pairs);
        for (let i = 1; i < knots.length; i++) {
          expect(knots[i]).toBeGreaterThan(knots[i - 1]!);
          expect(mean[i]).toBeGreaterThan(mean[i - 1]!);
        }
        const least = Math.min(...pairs.map(([, came]) => came));
        const most = Math.max(...pairs.map(([, came]) => came));
        expect(mean[0]).toBeGreaterThanOrEqual(least - 1e-9);
        expect(mean.at(-1)).toBeLessThanOrEqual(most + 1e-9);
      }),
    );
  });

  it('sets right scores that are wrong by a factor, and so the share that a choice is expected to hit', () => {
    const rng = seededRng(3);
    // half of what the score says comes to the low rows, twice as much to the high ones
    const pairs = Array.from({ length: 20_000 }, () => {
      const predicted = 10 ** (4 * rng() - 2);
      const mean = predicted < 1 ? predicted / 2 : predicted * 2;
      return [predicted, Math.round(mean + (rng() - 0.5) * mean)] as const;
    });
    const map = fitted(pairs);
    expect(calibrated(map, 40)).toBeGreaterThan(70);
    expect(calibrated(map, 40)).toBeLessThan(90);
    const scores = pairs.map(([predicted]) => predicted);
    const order = scores.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]!);
    const chosen = order.slice(0, 2000);
    const came = (slots: readonly number[]) => slots.reduce((sum, i) => sum + pairs[i]![1], 0);
    expect(expectedHitShare(map, scores, chosen)).toBeCloseTo(came(chosen) / came(order), 2);
    const unseen = { ...map, unseen_share: 0.25 };
    expect(expectedHitShare(unseen, scores, chosen)).toBeCloseTo((0.75 * came(chosen)) / came(order), 2);
  });

  it('takes scores for counts while there is nothing to go by', () => {
    const map = calibrate(new CalibrationBins(), 0);
    expect(calibrated(map, 3)).toBe(3);
    expect(expectedHitShare(map, [1, 3], [1])).toBe(0.75);
    expect(expectedHitShare(map, [0, 0], [1])).toBe(0);
  });
});
