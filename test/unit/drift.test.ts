import { describe, expect, test } from 'vitest';
import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';
import { driftOf } from '../../src/shadow/drift.ts';
import { Trial, type TrialOptions } from '../../src/shadow/trial.ts';

const keys = (from: number, to: number) =>
  new Set(Array.from({ length: to - from }, (_, i) => String(from + i)));
const begin = (model: Set<string>, rule: Set<string>, more: Partial<TrialOptions> = {}) =>
  new Trial({
    at: 100,
    model,
    rules: new Map([
      ['lfu', new Set<string>()],
      ['ewma', rule],
    ]),
    expected: null,
    changeWeight: 1,
    ...more,
  });
const access = (key: number | string, op: Access['op'] = 'R', at = 101): Access => ({
  key: String(key),
  op,
  at,
});
/** `n` accesses, uniform over keys 0–999. */
const uniform = (n: number, seed = 1) => {
  const rng = seededRng(seed);
  return Array.from({ length: n }, () => access(Math.floor(rng() * 1000)));
};
const sums = (trial: Trial, accesses: readonly Access[]) => {
  trial.observe(accesses);
  return trial.sums();
};

describe('a model has drifted', () => {
  test('when a plain rule realises clearly more', () => {
    const drift = driftOf([sums(begin(keys(0, 400), keys(0, 500)), uniform(5000))]);
    expect(drift).toMatchObject({ against: 'ewma', accesses: 5000, from: 100, until: 101 });
    expect(drift!.realised).toBeCloseTo(0.4, 1);
    expect(drift!.other - drift!.realised).toBeCloseTo(0.1, 1);
    expect(drift!.message).toMatch(
      /^the model's rows got (39|40|41)\.\d % of the latest 5000 accesses, less than the (49|50|51)\.\d % that the plain EWMA would/,
    );
  });

  test('when it realises clearly less than was predicted, whatever the rules do', () => {
    const promised = (predicted: number, lower: number) =>
      begin(keys(0, 400), keys(0, 400), { expected: { predicted, lower } });
    const trial = () => promised(0.5, 0.45);
    expect(driftOf([sums(trial(), uniform(5000))])).toMatchObject({ against: 'prediction', other: 0.5 });
    expect(driftOf([sums(promised(0.43, 0.42), uniform(5000))])).toBeNull();
    // hit shares of past windows were as far apart as that
    expect(driftOf([sums(promised(0.5, 0.35), uniform(5000))])).toBeNull();
    // several choices, of which one was not calibrated, promise nothing
    const plain = sums(begin(keys(0, 400), keys(0, 400)), uniform(5000));
    expect(driftOf([sums(trial(), uniform(5000)), plain])).toBeNull();
  });

  test('over several choices together', () => {
    const trials = [1, 2, 3].map((seed) => sums(begin(keys(0, 400), keys(0, 500)), uniform(500, seed)));
    expect(driftOf(trials.slice(0, 1))).toBeNull(); // fewer than 1000 accesses
    expect(driftOf(trials)).toMatchObject({ against: 'ewma', accesses: 1500 });
  });
});

describe('a model has not drifted', () => {
  test('when it chooses as the rule does, or better', () => {
    expect(driftOf([sums(begin(keys(0, 400), keys(0, 400)), uniform(5000))])).toBeNull();
    expect(driftOf([sums(begin(keys(0, 500), keys(0, 400)), uniform(5000))])).toBeNull();
  });

  test('when the difference is small, however sure', () => {
    expect(driftOf([sums(begin(keys(0, 400), keys(0, 440)), uniform(200_000))])).toBeNull();
  });

  test('when one key makes the difference: all its accesses hit or miss together', () => {
    const rest = uniform(1400);
    const one = Array.from({ length: 600 }, () => access('one'));
    const rule = new Set([...keys(0, 400), 'one']);
    expect(driftOf([sums(begin(keys(0, 400), rule), [...rest, ...one])])).toBeNull();
  });
});

test('the standard error is that of a difference paired by key', () => {
  // 2000 keys used once: the rule holds 600 that the model lacks, the model 300 that the rule lacks
  const accesses = Array.from({ length: 2000 }, (_, i) => access(i));
  const drift = driftOf([sums(begin(keys(0, 900), keys(300, 1500)), accesses)]);
  const mean = 300 / 2000;
  const variance = (300 * (1 + mean) ** 2 + 600 * (1 - mean) ** 2 + 1100 * mean ** 2) / 2000;
  expect(drift!.standard_error).toBeCloseTo(Math.sqrt(variance / 2000), 10);
  expect(drift!.other).toBeCloseTo(1200 / 2000, 10);
});

test('what came before the choice does not count, and a change counts as told', () => {
  const found = sums(begin(keys(0, 2), keys(1, 3), { changeWeight: 3 }), [
    access(0, 'R', 99),
    access(0, 'W'),
    access(1, 'R'),
    access(2, 'R', 150),
  ]);
  expect(found).toMatchObject({ at: 100, until: 150, accesses: 3, worth: 5, model: { worth: 4 } });
  expect(found.rules.ewma).toEqual({ worth: 2, squares: 8, apart: 10 });
});
