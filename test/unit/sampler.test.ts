import { describe, expect, it } from 'vitest';
import type { KeyId } from '../../src/core/key.ts';
import { seededRng } from '../../src/core/rng.ts';
import type { Stratum } from '../../src/core/states.ts';
import { type CertainSetInput, chooseCertainSet } from '../../src/sampler/certain-set.ts';
import { certifiable, leastRandom } from '../../src/sampler/certifiable.ts';
import { priorities } from '../../src/sampler/priority.ts';
import { incumbentsOf, inRandomRemainder, piEff, randomRate } from '../../src/sampler/random-remainder.ts';
import { topK } from '../../src/sampler/top.ts';

const weights = { predictive: 0.7, frequency: 0.1, change: 0.1, random: 0.1 };
const names = (n: number) => Array.from({ length: n }, (_, i) => `k${i}`);

function input(over: Partial<CertainSetInput> = {}): CertainSetInput {
  const keys = over.keys ?? names(1000);
  const rng = seededRng(7);
  const random = () => Float64Array.from(keys, () => rng() + 0.001);
  return {
    keys,
    n: 100,
    weights,
    predictive: random(),
    frequency: random(),
    change: random(),
    incumbents: new Map(),
    seed: 1,
    ...over,
  };
}

const count = (set: ReturnType<typeof chooseCertainSet>) => {
  const counts: Record<string, number> = {};
  for (const { stratum } of set.certain.values()) counts[stratum] = (counts[stratum] ?? 0) + 1;
  return counts;
};

describe('topK', () => {
  it('breaks ties by the key, not by the position', () => {
    const keys = names(50);
    const flat = new Float64Array(50).fill(1);
    const pick = (order: string[]) =>
      [...topK(flat, 10, order, new Uint8Array(50), 3).chosen].map((i) => order[i]).sort();
    expect(pick(keys)).toHaveLength(10);
    expect(pick([...keys].reverse())).toEqual(pick(keys));
    expect([...topK(flat, 10, keys, new Uint8Array(50), 4).chosen].map((i) => keys[i]).sort()).not.toEqual(
      pick(keys),
    );
  });

  it('never chooses a row without a signal, nor NaN', () => {
    const scores = Float64Array.from([0, Number.NaN, -1, 2, 0]);
    const top = topK(scores, 3, names(5), new Uint8Array(5), 1);
    expect([...top.chosen]).toEqual([3]);
    expect(top.cut).toBe(0);
  });
});

describe('chooseCertainSet', () => {
  it('gives each ranking its share of the budget', () => {
    const set = chooseCertainSet(input());
    expect(count(set)).toEqual({ predictive: 70, frequency: 10, change: 10 });
    expect(set.randomTarget).toBe(10);
    expect(set.notes).toEqual([]);
  });

  it('takes frequency from the rows that prediction left', () => {
    const same = Float64Array.from(names(1000), (_, i) => 1000 - i);
    const set = chooseCertainSet(input({ predictive: same, frequency: same, change: same }));
    expect(set.certain.get('k0')).toEqual({ stratum: 'predictive' });
    expect(set.certain.get('k69')).toEqual({ stratum: 'predictive' });
    expect(set.certain.get('k70')).toEqual({ stratum: 'frequency' });
    expect(set.certain.get('k89')).toEqual({ stratum: 'change' });
    expect(set.certain.has('k90')).toBe(false);
  });

  it('gives what a ranking cannot use to the random remainder, and says so', () => {
    const set = chooseCertainSet(
      input({ predictive: Float64Array.from(names(1000), (_, i) => (i < 5 ? 1 : 0)) }),
    );
    expect(count(set)).toEqual({ predictive: 5, frequency: 10, change: 10 });
    expect(set.unused.predictive).toBe(65);
    expect(set.randomTarget).toBe(75);
    expect(set.notes.join()).toContain('65 places went to the random remainder');
  });

  it('budgets add up whatever the weights', () => {
    const third = { predictive: 1 / 3, frequency: 1 / 3, change: 1 / 3, random: 0 };
    expect(chooseCertainSet(input({ n: 100, weights: third })).certain.size).toBe(100);
  });

  it('admits rows just inserted, in the place of the weakest predictions', () => {
    const fresh = ['new1', 'new2', 'k3', 'new1'];
    const set = chooseCertainSet(input({ fresh }));
    expect(count(set)).toEqual({ new: 3, predictive: 67, frequency: 10, change: 10 });
    expect(set.certain.get('k3')).toEqual({ stratum: 'new' });
  });

  it('does not let a bulk insert wash the shadow out', () => {
    const fresh = Array.from({ length: 5000 }, (_, i) => `new${i}`);
    const set = chooseCertainSet(input({ fresh }));
    expect(count(set).new).toBe(22);
    expect(set.certain.size).toBe(90);
    expect(set.notes.join()).toContain('4978 of the rows just inserted');
  });

  it('keeps an incumbent that is only a little worse, not one that is much worse', () => {
    const keys = names(4);
    const only = { predictive: 1, frequency: 0, change: 0, random: 0 };
    const zero = new Float64Array(4);
    const base = { keys, n: 2, weights: only, frequency: zero, change: zero, hysteresis: 0.1 };
    const incumbents = new Map<KeyId, Stratum>([['k3', 'predictive']]);
    const near = chooseCertainSet(
      input({ ...base, predictive: Float64Array.from([1, 0.98, 0.5, 0.95]), incumbents }),
    );
    expect(near.certain.get('k3')).toEqual({ stratum: 'incumbent' });
    expect(near.certain.has('k1')).toBe(false);
    const far = chooseCertainSet(
      input({ ...base, predictive: Float64Array.from([1, 0.98, 0.5, 0.8]), incumbents }),
    );
    expect(far.certain.has('k3')).toBe(false);
    expect(far.leaving).toEqual(['k3']);
  });

  it('bounds the rows that leave in a pass, without outgrowing the budget', () => {
    const first = chooseCertainSet(input());
    const incumbents = new Map<KeyId, Stratum>(
      [...first.certain].map(([key, { stratum }]) => [key, stratum]),
    );
    const rng = seededRng(99);
    const moved = input({ predictive: Float64Array.from(names(1000), () => rng()), incumbents });
    const free = chooseCertainSet(moved);
    expect(free.leaving.length).toBeGreaterThan(20);
    const held = chooseCertainSet({ ...moved, churnLimit: 20 });
    expect(held.leaving).toHaveLength(20);
    expect(held.certain.size).toBe(90);
    expect(held.heldBack).toHaveLength(free.leaving.length - 20);
  });

  it('keeps the share of chance while the churn limit shrinks A slowly', () => {
    const first = chooseCertainSet(input({ n: 400 }));
    const incumbents = new Map<KeyId, Stratum>(
      [...first.certain].map(([key, { stratum }]) => [key, stratum]),
    );
    const shrunk = chooseCertainSet(input({ n: 100, incumbents, churnLimit: 10 }));
    expect(shrunk.certain.size).toBe(350);
    expect(shrunk.randomTarget).toBe(10);
  });

  it('handles a million keys in a few seconds', () => {
    const keys = names(1_000_000);
    const started = performance.now();
    expect(chooseCertainSet(input({ keys, n: 100_000 })).certain.size).toBe(90_000);
    expect(performance.now() - started).toBeLessThan(15_000);
  });
});

describe('the random remainder', () => {
  it('stores its rate, and changes it only when the size misses by more than a tenth', () => {
    expect(randomRate({ N: 1000, nA: 100, target: 90 })).toEqual({ pi0: 0.1, changed: true });
    expect(randomRate({ N: 1000, nA: 150, target: 90, pi0: 0.1 })).toEqual({ pi0: 0.1, changed: false });
    const grown = randomRate({ N: 2000, nA: 100, target: 90, pi0: 0.1 });
    expect(grown.changed).toBe(true);
    expect(grown.pi0).toBeCloseTo(90 / 1900, 12);
    expect(randomRate({ N: 100, nA: 90, target: 50, pi0: 1 })).toEqual({ pi0: 1, changed: false });
    expect(randomRate({ N: 100, nA: 100, target: 5 })).toEqual({ pi0: 1, changed: true });
  });

  it('estimates only up to the first absent row', () => {
    expect(piEff(0.1, [])).toBe(0.1);
    expect(piEff(0.1, [0.07, 0.03, 0.2])).toBe(0.03);
    expect(inRandomRemainder(0.1, 0.1)).toBe(false);
  });

  it('incumbents never include a random member', () => {
    const members = [
      { key: 'a', stratum: 'random' },
      { key: 'b', stratum: 'incumbent' },
    ] as const;
    expect([...incumbentsOf(members).keys()]).toEqual(['b']);
  });
});

describe('certifiable', () => {
  it('follows 1.36·(N_B/N)/√m', () => {
    const enough = certifiable({ N: 2_000_000, n: 200_000, random: 0.02, threshold: 0.85 });
    expect(enough.ok).toBe(true);
    expect(enough.resolution).toBeCloseTo((1.36 * 0.902) / Math.sqrt(4000), 10);
  });

  it('names the share that would reach the threshold, and it does', () => {
    const setting = { N: 10_000, n: 1000, threshold: 0.9 };
    const poor = certifiable({ ...setting, random: 0.05 });
    expect(poor.ok).toBe(false);
    expect(poor.message).toContain('shadow.weights.random = ');
    expect(certifiable({ ...setting, random: poor.neededRandom! }).resolution).toBeCloseTo(0.1, 9);
    expect(
      certifiable({ ...setting, n: poor.neededFraction! * 10_000, random: 0.05 }).resolution,
    ).toBeCloseTo(0.1, 9);
  });

  it('says when nothing reaches it', () => {
    const hopeless = certifiable({ N: 100, n: 10, random: 0.1, threshold: 0.99 });
    expect(hopeless.neededRandom).toBeNull();
    expect(hopeless.neededFraction).toBeNull();
    expect(hopeless.message).toContain('lower it');
  });
});

describe('leastRandom', () => {
  it('is every other row of a table too small to sample', () => {
    expect([0, 1, 5, 20].map((N) => leastRandom({ N, nA: 1, threshold: 0.5 }))).toEqual([0, 0, 4, 19]);
    expect(leastRandom({ N: 500, nA: 50, threshold: 0.95 })).toBe(450);
  });

  it('is what the threshold asks for, and never much nor next to none', () => {
    const table = { N: 100_000, nA: 10_000 };
    const least = leastRandom({ ...table, threshold: 0.95 });
    const n = table.nA + least;
    expect(certifiable({ N: table.N, n, random: least / n, threshold: 0.95 }).resolution).toBeCloseTo(
      0.05,
      3,
    );
    expect(leastRandom({ ...table, threshold: 0 })).toBe(30);
    expect(leastRandom({ ...table, threshold: 1 })).toBe(1000);
  });
});

describe('priority', () => {
  const signals = {
    keys: names(4),
    predictive: Float64Array.from([3, 1, 0, 0]),
    frequency: Float64Array.from([0, 0, 10, 0]),
    change: new Float64Array(4),
  };
  const u = Float64Array.from([0.5, 0.5, 0.5, 1]);

  it('scales each signal to sum to one over the table', () => {
    const [a, b, c, d] = priorities(signals, u, weights);
    expect(a).toBeCloseTo(0.7 * 0.75 + 0.1 * 0.25, 12);
    expect(b).toBeCloseTo(0.7 * 0.25 + 0.1 * 0.25, 12);
    expect(c).toBeCloseTo(0.1 + 0.1 * 0.25, 12);
    expect(d).toBeCloseTo(0.1 * 0.5, 12);
  });
});
