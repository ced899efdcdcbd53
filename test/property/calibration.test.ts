import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seededRng } from '../../src/core/rng.ts';
import { calibrate, calibrated, expectedHitShare, WindowBins } from '../../src/model/calibration.ts';
import { foretell, hindsightOf, type JudgedWindow } from '../../src/model/calibration-error.ts';

const score = fc.oneof(fc.constant(0), fc.double({ min: 1e-9, max: 1e6, noNaN: true }));
const rows = fc.array(fc.tuple(score, fc.nat(50)), { minLength: 1, maxLength: 200 });

const binsOf = (pairs: readonly (readonly [number, number])[], choice: readonly number[] = []) =>
  new WindowBins(
    pairs.map(([predicted]) => predicted),
    pairs.map(([, came]) => came),
    [choice],
  );
const fitted = (pairs: readonly (readonly [number, number])[]) => calibrate([binsOf(pairs)], 0);

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

  it('does not give rows in a gap between cold and hot ones a hot count', () => {
    // as with a short half-life: thousands of cold rows, a few hot ones, and a thousand times between their scores
    const map = fitted([
      ...Array.from({ length: 1000 }, (_, i) => [1e-9, i % 30 ? 0 : 1] as const),
      ...Array.from({ length: 10 }, () => [1e-6, 150] as const),
    ]);
    expect(calibrated(map, 1e-9)).toBeCloseTo(0.034, 6);
    expect(calibrated(map, 4e-9)).toBeLessThan(0.3);
    expect(calibrated(map, 1e-6)).toBeCloseTo(150, 6);
  });

  it('takes scores for counts while there is nothing to go by', () => {
    const map = calibrate([], 0);
    expect(calibrated(map, 3)).toBe(3);
    expect(expectedHitShare(map, [1, 3], [1])).toBe(0.75);
    expect(expectedHitShare(map, [0, 0], [1])).toBe(0);
  });

  it('lets each window tell eight times as much as the one before it', () => {
    const early = binsOf([[1, 8]]);
    const late = binsOf([[1, 2]]);
    expect(calibrated(calibrate([early, late], 0), 1)).toBeCloseTo((8 / 8 + 2) / (1 / 8 + 1), 12);
  });
});

/** Rows whose mean count is their score; every tenth, the highest, is chosen. The accesses are `lift` times as steep, the scores span `span` per cents. */
function windowAt(offset: number, lift: number, seed: number, span = 1000): JudgedWindow {
  const rng = seededRng(seed);
  const scores = Array.from({ length: 2000 }, (_, i) => 1.01 ** (i % span));
  const sum = (exponent: number) => scores.reduce((all, predicted) => all + predicted ** exponent, 0);
  // as many accesses, however steep
  const scale = sum(1) / sum(lift);
  const pairs = scores.map((predicted) => [predicted, scale * predicted ** lift * (0.5 + rng())] as const);
  const order = pairs.map((_, i) => i).sort((a, b) => pairs[b]![0] - pairs[a]![0]);
  const chosen = order.slice(0, 200);
  const came = (slots: readonly number[]) => slots.reduce((sum, i) => sum + pairs[i]![1], 0);
  const unseenShare = 0.25;
  const realised = (1 - unseenShare) * (came(chosen) / came(order));
  return { offset, bins: binsOf(pairs, chosen), unseenShare, realised };
}

describe('the error of predicted hit shares', () => {
  it('is small where one window is like the other, and their spread where they are not', () => {
    const steady = [4, 3, 2, 1].map((offset) => windowAt(offset, 1, offset));
    const small = hindsightOf(steady, 0).error!;
    expect(small.windows).toBe(4);
    expect(small.deviation).toBeLessThan(0.02);
    const phases = [4, 3, 2, 1].map((offset) => windowAt(offset, offset % 2 ? 1 : 0.3, offset));
    const shares = phases.map(({ realised }) => realised);
    expect(Math.max(...shares) - Math.min(...shares)).toBeGreaterThan(0.2);
    expect(hindsightOf(phases, 0).error!.deviation).toBeGreaterThan(0.1);
  });

  it('learns nothing about a window from one that overlaps it', () => {
    // the copy would foretell its twin exactly
    const twins = [windowAt(3, 1, 1), windowAt(2, 0.3, 2), { ...windowAt(2, 0.3, 2), offset: 1.5 }];
    const without = hindsightOf(twins.slice(0, 2), 0).error!.deviation;
    expect(hindsightOf(twins, 0).error!.deviation).toBeGreaterThan(0.95 * without);
    expect(hindsightOf(twins.slice(1), 0)).toEqual({});
    expect(hindsightOf([], 0)).toEqual({});
  });

  it('leans on what past choices realised where the scores foretell less well, and by half at most', () => {
    // scores that mean another count in every window, though the same rows are hot and get the same share
    const drifting = [4, 3, 2, 1].map((offset) => {
      const own = windowAt(offset, 1, offset);
      return { ...own, bins: windowAt(offset, offset % 2 ? 1 : 0.3, offset).bins };
    });
    const { past } = hindsightOf(drifting, 0);
    expect(past!.weight).toBeGreaterThan(0.3);
    expect(past!.weight).toBeLessThanOrEqual(0.5);
    const shares = drifting.map(({ realised }) => realised);
    expect(past!.share).toBeGreaterThan(Math.min(...shares));
    expect(past!.share).toBeLessThan(Math.max(...shares));
    const map = { ...calibrate([], 0), past: { share: 0.7, weight: 0.25 } };
    expect(foretell(map, 0.5).predicted).toBeCloseTo(0.55, 12);
    // and hardly where shares come and go with the scores
    const foreseen = [4, 3, 2, 1].map((offset) => windowAt(offset, 1, offset, offset % 2 ? 200 : 1000));
    expect(hindsightOf(foreseen, 0).past!.weight).toBeLessThan(0.1);
  });

  it('gives an interval that is wider the fewer windows told, within 0 and 1, and all of it when none did', () => {
    const map = calibrate([], 0);
    expect(foretell(map, 0.5)).toEqual({ predicted: 0.5, lower: 0, upper: 1 });
    const width = (windows: number) => {
      const { lower, upper } = foretell({ ...map, error: { deviation: 0.02, windows } }, 0.5);
      expect((lower + upper) / 2).toBeCloseTo(0.5, 12);
      return upper - lower;
    };
    expect(width(4)).toBeCloseTo(2 * 1.53 * 0.02, 12);
    for (let windows = 2; windows < 12; windows++)
      expect(width(windows + 1)).toBeLessThanOrEqual(width(windows));
    expect(foretell({ ...map, error: { deviation: 0.2, windows: 2 } }, 0.9).upper).toBe(1);
    expect(foretell({ ...map, error: { deviation: 0.2, windows: 2 } }, 0.1).lower).toBe(0);
  });
});
