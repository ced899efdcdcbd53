import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binomial, multinomial } from '../../src/confidence/binomial.ts';
import { coarsen, coarsening, type QuantileBins, sizeOf } from '../../src/confidence/bins.ts';
import { betaQuantile, clopperPearsonUpper, regularizedBeta } from '../../src/confidence/clopper-pearson.ts';
import { sharesOf, totalVariation } from '../../src/confidence/distance.ts';
import { similarityOf } from '../../src/confidence/similarity.ts';
import { estimateByStrata, impliedShares } from '../../src/confidence/strata.ts';
import { seededRng } from '../../src/core/rng.ts';

const counts = (size: number, max = 1000) =>
  fc
    .array(fc.integer({ min: 0, max }), { minLength: size, maxLength: size })
    .map((values) => Float64Array.from(values));
const some = (size: number) => counts(size).filter((values) => values.some((value) => value > 0));
const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
const triple = fc.integer({ min: 1, max: 12 }).chain((size) => fc.tuple(some(size), some(size), some(size)));

describe('total variation', () => {
  it('is a distance in [0, 1]', () => {
    fc.assert(
      fc.property(triple, (all) => {
        const [p, q, r] = all.map(sharesOf) as [Float64Array, Float64Array, Float64Array];
        expect(totalVariation(p, p)).toBe(0);
        expect(totalVariation(p, q)).toBe(totalVariation(q, p));
        expect(totalVariation(p, q)).toBeLessThanOrEqual(1);
        expect(totalVariation(p, r)).toBeLessThanOrEqual(totalVariation(p, q) + totalVariation(q, r) + 1e-12);
      }),
    );
  });

  it('is the largest difference of any event', () => {
    fc.assert(
      fc.property(triple, fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }), ([a, b], event) => {
        const [p, q] = [sharesOf(a), sharesOf(b)];
        const over = p.reduce((total, share, i) => total + (event[i] ? share - q[i]! : 0), 0);
        expect(Math.abs(over)).toBeLessThanOrEqual(totalVariation(p, q) + 1e-12);
      }),
    );
  });

  it('never grows when bins are merged', () => {
    const sides = fc
      .integer({ min: 0, max: 5 })
      .chain((heavy) => fc.integer({ min: 0, max: 19 }).map((edges) => ({ heavy, edges })))
      .map(
        ({ heavy, edges }): QuantileBins => ({
          type: 'quantile',
          heavy: Array.from({ length: heavy }, String),
          edges: Array.from({ length: edges }, String),
        }),
      )
      .chain((bins) => fc.tuple(fc.constant(bins), counts(sizeOf(bins)), counts(sizeOf(bins))));
    fc.assert(
      fc.property(sides, fc.integer({ min: 4, max: 20 }), ([bins, a, b], k) => {
        const plan = coarsening(bins, k);
        const [ca, cb] = [coarsen(a, plan), coarsen(b, plan)];
        expect(sum(ca)).toBe(sum(a));
        expect(ca[0]).toBe(a[0]);
        expect(ca.length).toBeLessThanOrEqual(1 + bins.heavy.length + k);
        if (sum(a) > 0 && sum(b) > 0) {
          const fine = totalVariation(sharesOf(a), sharesOf(b));
          expect(totalVariation(sharesOf(ca), sharesOf(cb))).toBeLessThanOrEqual(fine + 1e-12);
        }
      }),
    );
  });
});

describe('strata', () => {
  it('estimate exactly when B is seen whole, and imply B exactly', () => {
    fc.assert(
      fc.property(triple, ([a, b]) => {
        const strata = { N: sum(a) + sum(b), nA: sum(a) };
        const whole = sharesOf(a.map((n, i) => n + b[i]!));
        const estimate = estimateByStrata(a, b, strata);
        const implied = impliedShares(whole, a, strata);
        const shares = sharesOf(b);
        for (let i = 0; i < whole.length; i++) {
          expect(estimate[i]).toBeCloseTo(whole[i]!, 9);
          expect(implied[i]).toBeCloseTo(shares[i]!, 9);
        }
      }),
    );
  });
});

describe('similarity', () => {
  it('keeps lower ≤ similarity ≤ upper, all in [0, 1]', () => {
    fc.assert(
      fc.property(
        triple,
        fc.integer({ min: 0, max: 5000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.integer(),
        ([source, a, b], more, unseen, seed) => {
          const strata = { N: Math.max(sum(source), sum(a)) + more, nA: sum(a) };
          const rng = seededRng(seed);
          for (const sample of [b, new Float64Array(b.length)]) {
            const seen = similarityOf({
              source: [source],
              a,
              b: sample,
              strata,
              unseen,
              replicates: 20,
              rng,
            });
            expect(seen.lower).toBeGreaterThanOrEqual(0);
            expect(seen.lower).toBeLessThanOrEqual(seen.similarity + 1e-12);
            expect(seen.similarity).toBeLessThanOrEqual(seen.upper + 1e-12);
            expect(seen.upper).toBeLessThanOrEqual(1);
            expect(seen.noise).toBeLessThanOrEqual(1);
          }
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('Clopper–Pearson', () => {
  it('lies above the share seen, rises with defects, falls with checks, and inverts the beta distribution', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.nat(), (checked, at) => {
        const found = at % checked;
        const upper = clopperPearsonUpper(found, checked);
        expect(upper).toBeGreaterThan(found / checked);
        expect(upper).toBeLessThanOrEqual(clopperPearsonUpper(found + 1, checked));
        expect(clopperPearsonUpper(found, checked + 1)).toBeLessThan(upper);
        expect(regularizedBeta(upper, found + 1, checked - found)).toBeCloseTo(0.95, 8);
      }),
    );
  });

  it('the beta quantile inverts the beta distribution', () => {
    const shape = fc.double({ min: 0.5, max: 500, noNaN: true });
    fc.assert(
      fc.property(shape, shape, fc.double({ min: 0.001, max: 0.999, noNaN: true }), (a, b, p) => {
        expect(regularizedBeta(betaQuantile(p, a, b), a, b)).toBeCloseTo(p, 6);
      }),
    );
  });
});

describe('draws', () => {
  it('stay within their range', () => {
    const n = fc.integer({ min: 0, max: 1_000_000 });
    fc.assert(
      fc.property(n, fc.double({ min: 0, max: 1, noNaN: true }), fc.integer(), (rows, p, seed) => {
        const k = binomial(rows, p, seededRng(seed));
        expect(Number.isInteger(k) && k >= 0 && k <= rows).toBe(true);
      }),
    );
    fc.assert(
      fc.property(some(8), fc.integer({ min: 0, max: 10_000 }), fc.integer(), (weights, m, seed) => {
        const drawn = new Float64Array(8);
        multinomial(m, weights, drawn, seededRng(seed));
        expect(sum(drawn)).toBe(m);
        for (const [i, weight] of weights.entries()) expect(weight > 0 || drawn[i] === 0).toBe(true);
      }),
    );
  });
});
