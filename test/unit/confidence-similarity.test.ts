import { describe, expect, it } from 'vitest';
import { multinomial } from '../../src/confidence/binomial.ts';
import { binCount } from '../../src/confidence/bins.ts';
import { totalVariation } from '../../src/confidence/distance.ts';
import { similarityOf } from '../../src/confidence/similarity.ts';
import { estimateByStrata } from '../../src/confidence/strata.ts';
import { seededRng } from '../../src/core/rng.ts';

const f = (...values: number[]) => Float64Array.from(values);
const N = 100_000;
const nA = 9_000;
const strata = { N, nA };

interface Scene {
  readonly source: Float64Array;
  readonly a: Float64Array;
  /** distribution of B in the target */
  readonly shadowB: Float64Array;
  /** the true similarity */
  readonly truth: number;
}

/** A table with `bins` equal bins (`concentrated`: all rows in one of two), a hot A, and a target B that is off. */
function scene(similarity: number, bins: number, concentrated: boolean): Scene {
  const k = concentrated ? 2 : bins + 1;
  const b = new Float64Array(k);
  if (concentrated) b[1] = 1;
  else b.fill(1 / bins, 1);
  const hot = b.map((share, i) => (concentrated || i === 0 ? share : i === 1 ? 0.7 : 0.3 / (bins - 1)));
  const shadowB = Float64Array.from(b);
  let left = (1 - similarity) / (1 - nA / N);
  shadowB[concentrated ? 0 : 1]! += left;
  for (let i = k - 1; i > 0 && left > 0; i--) {
    const moved = Math.min(left, b[i]!);
    shadowB[i]! -= moved;
    left -= moved;
  }
  const a = hot.map((share) => share * nA);
  const shares = b.map((share, i) => (nA / N) * hot[i]! + (1 - nA / N) * share);
  const truth = 1 - totalVariation(shares, estimateByStrata(a, shadowB, strata));
  return { source: shares.map((share) => share * N), a, shadowB, truth };
}

function simulate({ source, a, shadowB, truth }: Scene, m: number, runs: number, seed: number) {
  const rng = seededRng(seed);
  const b = new Float64Array(shadowB.length);
  let lower = 0;
  let upper = 0;
  let corrected = 0;
  for (let i = 0; i < runs; i++) {
    multinomial(m, shadowB, b, rng);
    const seen = similarityOf({ source: [source], a, b, strata, rng, replicates: 100 });
    if (seen.lower <= truth + 1e-12) lower++;
    if (seen.upper >= truth - 1e-12) upper++;
    if (seen.lower + (1 - seen.noise) <= truth) corrected++;
  }
  return { lower: lower / runs, upper: upper / runs, corrected: corrected / runs };
}

describe('the bounds of a field’s similarity', () => {
  for (const concentrated of [false, true]) {
    it.each([
      [0.85, 200],
      [0.92, 1000],
      [0.95, 4000],
      [0.97, 400],
      [0.99, 100],
      [0.99, 1000],
    ])(`cover (${concentrated ? 'concentrated' : 'spread'}) a similarity of %d with %i members`, (similarity, m) => {
      const made = scene(similarity, binCount(m), concentrated);
      expect(made.truth).toBeCloseTo(similarity, 9);
      const covered = simulate(made, m, 400, 17);
      // nominal .95; 400 runs have a standard error of .011
      expect(covered.lower).toBeGreaterThan(0.925);
      expect(covered.upper).toBeGreaterThan(0.925);
    });
  }

  it('would not be covered if the mean of noise were subtracted', () => {
    const covered = simulate(scene(0.95, 4, false), 400, 400, 17);
    expect(covered.corrected).toBeLessThan(0.85);
  });

  it('has an upper bound that a faithful shadow’s truth stays below', () => {
    expect(simulate(scene(1, 10, false), 2000, 200, 5).upper).toBeGreaterThan(0.9);
  });

  it('does not take a hundred equal rows for proof', () => {
    const rng = seededRng(1);
    const seen = similarityOf({ source: [f(0, N)], a: f(0, nA), b: f(0, 100), strata, rng });
    expect(seen.similarity).toBe(1);
    expect(seen.lower).toBeCloseTo(1 - 0.91 * (1 - 0.05 ** 0.01), 9);
  });
});

describe('similarity', () => {
  const rng = () => seededRng(1);
  it('knows only A when there is no random member', () => {
    const seen = similarityOf({
      source: [f(0, 50_000, 50_000)],
      a: f(0, 9000, 0),
      b: f(0, 0, 0),
      strata,
      rng: rng(),
    });
    expect(seen.similarity).toBeCloseTo(0.09, 12);
    expect(seen.lower).toBeCloseTo(0.09, 12);
    expect(seen.upper).toBeCloseTo(1, 12);
  });

  it('has no error when everything is in the shadow', () => {
    const all = { N: 100, nA: 100 };
    const seen = similarityOf({
      source: [f(0, 60, 40)],
      a: f(0, 60, 40),
      b: f(0, 0, 0),
      strata: all,
      rng: rng(),
    });
    expect(seen).toMatchObject({ similarity: 1, lower: 1, upper: 1 });
  });

  it('has no error when B is counted whole, but still its distance', () => {
    const few = { source: [f(0, 2, 3)], a: f(0, 1, 0), strata: { N: 5, nA: 1 }, census: true, rng: rng() };
    expect(similarityOf({ ...few, b: f(0, 1, 3) })).toMatchObject({ similarity: 1, lower: 1, noise: 1 });
    const off = similarityOf({ ...few, b: f(0, 3, 1) });
    expect(off.similarity).toBeCloseTo(0.6, 12);
    expect(off.lower).toBeCloseTo(0.6, 12);
  });

  it('is 1 for an empty table', () => {
    const seen = similarityOf({
      source: [f(0, 0)],
      a: f(0, 0),
      b: f(0, 0),
      strata: { N: 0, nA: 0 },
      rng: rng(),
    });
    expect(seen).toMatchObject({ similarity: 1, lower: 1, upper: 1 });
  });

  it('subtracts what is not yet in T from the bound', () => {
    const input = { source: [f(0, 50_000, 50_000)], a: f(0, 4500, 4500), b: f(0, 500, 500), strata };
    const all = similarityOf({ ...input, rng: rng() });
    const late = similarityOf({ ...input, rng: rng(), unseen: 0.02 });
    expect(late.lower).toBeCloseTo(all.lower - 0.02, 12);
    expect(late.similarity).toBe(all.similarity);
  });

  it('is wider when the source was sampled', () => {
    const a = f(0, 4500, 4500);
    const b = f(0, 1000, 1000);
    const groups = Array.from({ length: 32 }, (_, i) => (i % 2 ? f(0, 100, 60) : f(0, 60, 100)));
    const scan = similarityOf({ source: [f(0, 2560, 2560)], a, b, strata, rng: rng() });
    const blocks = similarityOf({ source: groups, a, b, strata, rng: rng() });
    expect(blocks.similarity).toBeCloseTo(scan.similarity, 12);
    expect(blocks.lower).toBeLessThan(scan.lower);
    expect(blocks.noise).toBeLessThan(scan.noise);
  });

  it('allows NULL shares to differ by chance only', () => {
    const source = [f(10_000, 90_000)];
    const a = f(900, 8100);
    const chance = similarityOf({ source, a, b: f(225, 1775), strata, rng: rng() });
    expect(Math.abs(chance.nulls.shadow - chance.nulls.source)).toBeLessThan(chance.nulls.allowed);
    const holes = similarityOf({ source, a, b: f(300, 1700), strata, rng: rng() });
    expect(Math.abs(holes.nulls.shadow - holes.nulls.source)).toBeGreaterThan(holes.nulls.allowed);
    const never = similarityOf({ source: [f(0, N)], a: f(0, nA), b: f(1, 1999), strata, rng: rng() });
    expect(never.nulls.allowed).toBe(0);
    expect(never.nulls.shadow).toBeGreaterThan(0);
  });
});
