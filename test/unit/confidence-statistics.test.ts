import { mean, variance } from 'simple-statistics';
import { describe, expect, it } from 'vitest';
import { binomial, multinomial } from '../../src/confidence/binomial.ts';
import { binCount, coarsen, coarsening, quantileBins, sizeOf } from '../../src/confidence/bins.ts';
import { betaQuantile, clopperPearsonUpper, regularizedBeta } from '../../src/confidence/clopper-pearson.ts';
import { defectRate } from '../../src/confidence/defects.ts';
import { noiseDistance, sharesOf, totalVariation } from '../../src/confidence/distance.ts';
import { resample, shareVariance, sumGroups } from '../../src/confidence/source-sample.ts';
import { effectiveSampleSize, estimateByStrata, impliedShares } from '../../src/confidence/strata.ts';
import { seededRng } from '../../src/core/rng.ts';

const f = (...values: number[]) => Float64Array.from(values);

describe('Clopper–Pearson', () => {
  // reference values: scipy.stats.beta.ppf
  it.each([
    [0, 1, 0.95, 0.975],
    [0, 100, 0.029513049607, 0.036216692645],
    [1, 100, 0.046559811454, 0.054459385392],
    [5, 100, 0.102253377643, 0.112834911105],
    [10, 20, 0.698046088714, 0.728042150439],
    [50, 1000, 0.062863403512, 0.065390487915],
    [3, 100_000, 7.753472238565e-5, 8.767020256636e-5],
    [2000, 40_000, 0.051829248144, 0.052181215297],
    [1999, 2000, 0.999974353682, 0.999987341176],
  ])('%i of %i', (found, checked, at95, at975) => {
    expect(clopperPearsonUpper(found, checked)).toBeCloseTo(at95, 9);
    expect(clopperPearsonUpper(found, checked, 0.975)).toBeCloseTo(at975, 9);
  });

  it('knows nothing when nothing was checked, and nothing better when all failed', () => {
    expect(clopperPearsonUpper(0, 0)).toBe(1);
    expect(clopperPearsonUpper(5, 5)).toBe(1);
  });

  // reference values: scipy.special.betainc
  it.each([
    [2, 3, 0.4, 0.5248],
    [0.5, 0.5, 0.1, 0.204832764699],
    [50, 950, 0.06, 0.920943346099],
    [20_001, 180_000, 0.1, 0.498116769903],
  ])('I_x(%d, %d) at %d', (a, b, x, value) => {
    expect(regularizedBeta(x, a, b)).toBeCloseTo(value, 9);
    expect(betaQuantile(value, a, b)).toBeCloseTo(x, 9);
  });

  it('covers at least 95 % of the time', () => {
    const rng = seededRng(3);
    for (const [p, n] of [
      [0.01, 50],
      [0.05, 200],
      [0.2, 30],
    ] as const) {
      let covered = 0;
      for (let i = 0; i < 4000; i++) if (clopperPearsonUpper(binomial(n, p, rng), n) >= p) covered++;
      expect(covered / 4000).toBeGreaterThan(0.94);
    }
  });
});

describe('binomial draws', () => {
  it.each([
    [20, 0.3],
    [1000, 0.002],
    [1000, 0.4],
    [100_000, 0.07],
    [500, 0.93],
  ])('n %i, p %d: mean and variance', (n, p) => {
    const rng = seededRng(11);
    const draws = Array.from({ length: 20_000 }, () => binomial(n, p, rng));
    const sd = Math.sqrt(n * p * (1 - p));
    expect(Math.abs(mean(draws) - n * p)).toBeLessThan((4 * sd) / Math.sqrt(20_000));
    expect(variance(draws) / sd ** 2).toBeGreaterThan(0.95);
    expect(variance(draws) / sd ** 2).toBeLessThan(1.05);
    expect(draws.every((k) => Number.isInteger(k) && k >= 0 && k <= n)).toBe(true);
  });

  it('n 40, p 0.4 (by rejection): every probability', () => {
    const rng = seededRng(12);
    const counts = new Float64Array(41);
    const R = 100_000;
    for (let i = 0; i < R; i++) counts[binomial(40, 0.4, rng)]!++;
    let mass = 0.6 ** 40;
    let chi2 = 0;
    for (let k = 0; k <= 40; k++) {
      if (mass * R > 5) chi2 += (counts[k]! - mass * R) ** 2 / (mass * R);
      mass *= ((40 - k) / (k + 1)) * (0.4 / 0.6);
    }
    // about 24 cells: 60 is far beyond the 99.99 % point
    expect(chi2).toBeLessThan(60);
  });

  it('multinomial draws are exact in number and unbiased by bin', () => {
    const rng = seededRng(13);
    const sums = f(0, 0, 0, 0);
    const drawn = f(0, 0, 0, 0);
    for (let i = 0; i < 2000; i++) {
      multinomial(500, f(1, 0, 6, 3), drawn, rng);
      expect(drawn.reduce((a, b) => a + b)).toBe(500);
      for (const [bin, n] of drawn.entries()) sums[bin]! += n;
    }
    expect(sums[1]).toBe(0);
    expect(sums[0]! / 1e6).toBeCloseTo(0.1, 2);
    expect(sums[2]! / 1e6).toBeCloseTo(0.6, 2);
  });
});

describe('bins', () => {
  it('are as many as the random members carry', () => {
    expect([0, 799, 1000, 2100, 4000, 1e6].map(binCount)).toEqual([4, 4, 5, 10, 20, 20]);
  });

  it('give a heavy value its own bin', () => {
    const asked = Array.from({ length: 39 }, (_, i) => (i < 20 ? '5' : String(i)));
    const bins = quantileBins(asked);
    expect(bins.heavy).toEqual(['5']);
    expect(bins.edges).toEqual(['5', '21', '23', '25', '27', '29', '31', '33', '35', '37']);
    expect(sizeOf(bins)).toBe(13);
  });

  it('coarsen without losing a row, NULL and heavy values apart', () => {
    const bins = { type: 'quantile', heavy: ['5'], edges: ['1', '2', '3', '4', '6', '7', '8'] } as const;
    const plan = coarsening(bins, 4);
    expect([...plan.to]).toEqual([0, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    expect([...coarsen(f(9, 8, 1, 1, 1, 1, 1, 1, 1, 1), plan)]).toEqual([9, 8, 2, 2, 2, 2]);
    const labels = { type: 'frequent', labels: ['a', 'b', 'c', 'd', 'e'] } as const;
    expect([...coarsen(f(1, 10, 9, 8, 7, 6, 5), coarsening(labels, 4))]).toEqual([1, 10, 9, 8, 18]);
    expect(coarsening(labels, 20).size).toBe(7);
  });
});

describe('distances', () => {
  it('total variation', () => {
    expect(totalVariation(f(0.5, 0.5), f(0.5, 0.5))).toBe(0);
    expect(totalVariation(f(1, 0), f(0, 1))).toBe(1);
    expect(totalVariation(f(0.2, 0.8), f(0.5, 0.5))).toBeCloseTo(0.3, 12);
  });

  it('noise is the mean distance of a faithful sample', () => {
    const rng = seededRng(1);
    const q = f(0.05, 0.05, 0.2, 0.3, 0.4);
    const drawn = f(0, 0, 0, 0, 0);
    const distances = Array.from({ length: 4000 }, () => {
      multinomial(800, q, drawn, rng);
      return 0.9 * totalVariation(q, sharesOf(drawn));
    });
    expect(noiseDistance(q, 0.9, 800)).toBeCloseTo(mean(distances), 3);
  });
});

describe('strata', () => {
  it('weighs A whole and B by its sample', () => {
    const estimate = estimateByStrata(f(100, 0), f(10, 30), { N: 1000, nA: 100 });
    expect([...estimate]).toEqual([0.1 + 0.9 * 0.25, 0.9 * 0.75]);
    expect(effectiveSampleSize(81, { N: 1000, nA: 100 })).toBeCloseTo(100, 9);
    expect(effectiveSampleSize(0, { N: 1000, nA: 1000 })).toBe(1000);
    expect(effectiveSampleSize(999, { N: 1000, nA: 900 })).toBe(1000);
  });

  it('B must hold what A does not', () => {
    const implied = impliedShares(f(0.325, 0.675), f(100, 0), { N: 1000, nA: 100 });
    expect(implied[0]).toBeCloseTo(0.25, 12);
  });

  it('is unbiased: the mean over draws is the table’s distribution, however hot A is', () => {
    const rng = seededRng(21);
    // a real population: A is chosen by value, B by chance
    const values = Array.from({ length: 2000 }, () => Math.floor(rng() ** 2 * 4));
    const hot = values.map((value, i) => value === 3 && i % 2 === 0);
    const truth = f(0, 0, 0, 0);
    for (const value of values) truth[value]! += 1 / 2000;
    const sum = f(0, 0, 0, 0);
    const R = 3000;
    for (let r = 0; r < R; r++) {
      const a = f(0, 0, 0, 0);
      const b = f(0, 0, 0, 0);
      values.forEach((value, i) => {
        if (hot[i]) a[value]!++;
        else if (rng() < 0.1) b[value]!++;
      });
      const nA = a.reduce((x, y) => x + y);
      for (const [i, share] of estimateByStrata(a, b, { N: 2000, nA }).entries()) sum[i]! += share / R;
    }
    for (let i = 0; i < 4; i++) expect(Math.abs(sum[i]! - truth[i]!)).toBeLessThan(0.002);
  });
});

describe('defects', () => {
  const strata = { N: 1000, nA: 100 };
  it('counts A and bounds B', () => {
    const rate = defectRate({ a: { checked: 100, found: 2 }, b: { checked: 100, found: 0 } }, strata, false);
    expect(rate).toMatchObject({ found: 2, checked: 200 });
    expect(rate.upper_bound).toBeCloseTo((2 + 900 * (1 - 0.05 ** 0.01)) / 1000, 12);
  });

  it('bounds a sampled A as well', () => {
    const rate = defectRate({ a: { checked: 50, found: 0 }, b: { checked: 100, found: 0 } }, strata, true);
    const bound = 0.1 * (1 - 0.025 ** (1 / 50)) + 0.9 * (1 - 0.025 ** (1 / 100));
    expect(rate.upper_bound).toBeCloseTo(bound, 12);
  });

  it('does not call a part sound that was not checked', () => {
    const none = { checked: 0, found: 0 };
    expect(defectRate({ a: none, b: none }, strata, false).upper_bound).toBe(1);
    expect(defectRate({ a: { checked: 9, found: 0 }, b: none }, { N: 9, nA: 9 }, false).upper_bound).toBe(0);
  });
});

describe('a sampled source', () => {
  it('has the variance of its blocks, not of its rows', () => {
    const rng = seededRng(4);
    // each block of 50 rows holds one value only: 32 groups of 5 blocks are 160 draws, not 8000
    const draw = () =>
      Array.from({ length: 32 }, () => {
        const group = f(0, 0);
        for (let block = 0; block < 5; block++) group[rng() < 0.3 ? 0 : 1]! += 50;
        return group;
      });
    const expected = (0.3 * 0.7) / 160;
    const variances = Array.from({ length: 200 }, () => shareVariance(draw())[0]!);
    expect(mean(variances) / expected).toBeGreaterThan(0.9);
    expect(mean(variances) / expected).toBeLessThan(1.1);
    const groups = draw();
    const total = sumGroups(groups);
    const again = Array.from({ length: 2000 }, () => sharesOf(resample(groups, total, rng))[0]!);
    expect(variance(again) / shareVariance(groups)[0]!).toBeGreaterThan(0.8);
    expect(variance(again) / shareVariance(groups)[0]!).toBeLessThan(1.2);
    expect(shareVariance([total])).toEqual(f(0, 0));
  });
});
