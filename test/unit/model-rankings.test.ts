import { describe, expect, it } from 'vitest';
import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';
import { kthLargest, kthLargestOf } from '../../src/core/top.ts';
import { FeatureEngine } from '../../src/features/engine.ts';
import { featureSpec } from '../../src/features/spec.ts';
import { corrected, nearestChangeHalfLife, worth } from '../../src/model/expectation.ts';
import { baselines, hitShare } from '../../src/model/rankings.ts';
import { chooseTop, topPositions } from '../../src/model/top.ts';

const keys = Array.from({ length: 500 }, (_, i) => `k${i}`);

describe('choosing the top', () => {
  it('agrees with a sort, on scores with and without long runs of equal values', () => {
    const rng = seededRng(1);
    for (const distinct of [1, 2, 5, 1e9]) {
      const scores = Float64Array.from(keys, () => Math.floor(rng() * distinct));
      const sorted = [...scores].sort((a, b) => b - a);
      for (const k of [1, 17, 250, 499, 500]) {
        expect(kthLargest(scores.slice(), k)).toBe(sorted[k - 1]);
        const chosen = [...topPositions(keys, scores, k, 1)].map((i) => scores[i]!);
        expect(chosen.sort((a, b) => b - a)).toEqual(sorted.slice(0, k));
      }
    }
  });

  it('selects without reordering, whatever the sign and size', () => {
    const rng = seededRng(2);
    const odd = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5e-324, -1e300];
    for (const spread of [0, 1, 300]) {
      const some = keys.map(() => (rng() - 0.3) * 10 ** ((rng() - 0.5) * spread));
      const values = Float64Array.from([...some, ...odd, ...odd]);
      const before = values.slice();
      const sorted = [...values]
        .map((v) => (Number.isNaN(v) ? Number.NEGATIVE_INFINITY : v))
        .sort((a, b) => b - a);
      // not at the beginning of its memory
      const shifted = new Float64Array([1, ...values]).subarray(1);
      for (let k = 1; k <= values.length; k++)
        expect(kthLargestOf(shifted, k) === sorted[k - 1], `${k}`).toBe(true);
      expect(shifted).toEqual(before);
    }
  });

  it('breaks ties by the seeded hash of the key, never by position', () => {
    const scores = new Float64Array(keys.length);
    const reversed = [...keys].reverse();
    const chosen = chooseTop(keys, scores, 50, 9);
    expect(chosen.size).toBe(50);
    expect([...chooseTop(reversed, scores, 50, 9)].sort()).toEqual([...chosen].sort());
    expect([...chooseTop(keys, scores, 50, 10)].sort()).not.toEqual([...chosen].sort());
    const first = keys.slice(0, 50).filter((key) => chosen.has(key)).length;
    expect(first).toBeLessThan(20);
  });

  it('takes nothing, everything, and ranks what is not a number last', () => {
    expect(topPositions(keys, new Float64Array(500), 0, 1)).toHaveLength(0);
    expect(topPositions(keys, new Float64Array(500), 9999, 1)).toHaveLength(500);
    expect(topPositions([], [], 3, 1)).toHaveLength(0);
    expect([...chooseTop(['a', 'b', 'c'], [Number.NaN, 0, 1], 2, 1)].sort()).toEqual(['b', 'c']);
  });
});

const R = (key: string, at = 0, weight?: number): Access => ({
  key,
  op: 'R',
  at,
  ...(weight ? { weight } : {}),
});
const W = (key: string, at = 0): Access => ({ key, op: 'W', at });

describe('hit share', () => {
  it('weighs changes, and accesses that stand for several', () => {
    const future = [R('a'), R('b', 0, 3), W('a'), W('b')];
    expect(hitShare(new Set(['a']), future)).toEqual({ hits: 2, total: 6, share: 2 / 6 });
    expect(hitShare(new Set(['a']), future, { changeWeight: 5 })).toEqual({
      hits: 6,
      total: 14,
      share: 6 / 14,
    });
    expect(hitShare(new Set(['a']), [])).toEqual({ hits: 0, total: 0, share: 0 });
  });

  it('lets admitted keys hit from their second access on', () => {
    const future = [W('new', 1), R('new', 2), R('new', 3), R('other', 4), R('other', 5)];
    expect(hitShare(new Set(), future, { admitted: new Set(['new']) }).hits).toBe(2);
  });

  it('gives the baselines: the oracle is the best of all, and no key unseen at the time can be chosen', () => {
    const engine = new FeatureEngine(featureSpec(10));
    engine.observeAll([
      ...Array(9).fill(R('old', 0)),
      R('steady', 1),
      R('steady', 30),
      R('late', 31),
      R('idle', 2),
    ]);
    const future = [R('late', 33), R('late', 34), R('steady', 35), R('unseen', 36)];
    const shares = baselines(engine, 32, future, 1, { seed: 1, halfLife: 2 });
    expect(shares.lfu.share).toBe(0);
    expect(shares.lru.share).toBe(0.5);
    expect(shares.ewma.share).toBe(0.5);
    expect(shares.oracle).toEqual({ hits: 2, total: 4, share: 0.5 });
    for (const { share } of Object.values(shares)) expect(share).toBeLessThanOrEqual(shares.oracle.share);
  });
});

describe('expectations', () => {
  it('values a row as its reads plus the weighted changes', () => {
    expect(worth(10, 4, 1)).toBe(10);
    expect(worth(10, 4, 0)).toBe(6);
    expect(worth(10, 4, 3)).toBe(18);
    expect(worth(2, 4, 0)).toBe(0);
  });

  it('corrects in log1p space: exactly nothing at zero, never below zero, and in order', () => {
    for (const expected of [0, 1e-12, 0.3, 1e6]) expect(corrected(expected, 0)).toBe(expected);
    expect(corrected(3, Math.log(2))).toBeCloseTo(7, 12);
    expect(corrected(0.1, -5)).toBeGreaterThan(0);
    expect(corrected(0.2, -5)).toBeGreaterThan(corrected(0.1, -5));
    expect(corrected(0.1, -5)).toBeLessThan(corrected(1e-9, 1e-12));
    for (const broken of [Number.NaN, Number.POSITIVE_INFINITY]) expect(corrected(2, broken)).toBe(2);
  });

  it('pairs each access half-life with the nearest change half-life', () => {
    const spec = featureSpec(1);
    expect(spec.accessHalfLives.map((_, i) => nearestChangeHalfLife(spec, i))).toEqual([
      0, 0, 0, 0, 1, 1, 1, 1, 2, 2,
    ]);
  });
});
