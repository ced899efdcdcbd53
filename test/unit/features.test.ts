import { describe, expect, it } from 'vitest';
import type { Access } from '../../src/core/access.ts';
import { horizonFactor } from '../../src/features/decay.ts';
import { FeatureEngine } from '../../src/features/engine.ts';
import { log1p } from '../../src/features/log.ts';
import { compareAccesses } from '../../src/features/order.ts';
import { canonicalJson, featureSpec, featureSpecHash } from '../../src/features/spec.ts';
import { type Moment, VectorWriter } from '../../src/features/vectors.ts';

const spec = featureSpec(10);
const read = (key: string, at: number, weight?: number): Access =>
  weight === undefined ? { key, op: 'R', at } : { key, op: 'R', at, weight };
const change = (key: string, at: number): Access => ({ key, op: 'W', at });
const column = (name: string) => spec.columns.indexOf(name);

describe('feature spec', () => {
  it('has a hash that does not depend on the order of its fields, but on everything in it', () => {
    const reversed = Object.fromEntries(Object.entries(spec).reverse()) as unknown as typeof spec;
    expect(featureSpecHash(reversed)).toBe(featureSpecHash(spec));
    expect(featureSpecHash(featureSpec(11))).not.toBe(featureSpecHash(spec));
    expect(featureSpecHash({ ...spec, columns: [...spec.columns].reverse() })).not.toBe(
      featureSpecHash(spec),
    );
    expect(canonicalJson({ b: [1, { d: null, c: 'x' }], a: true })).toBe(
      '{"a":true,"b":[1,{"c":"x","d":null}]}',
    );
  });

  it('keeps its hash from version to version: a change here makes every saved model useless', () => {
    expect(featureSpecHash(featureSpec(60))).toMatchInlineSnapshot(
      `"f80309a4a90a67f7434f3ad99eb451ddce7a5320fb6cecb451ecfb0c1d8d648d"`,
    );
  });

  it('refuses a horizon that is no length of time', () => {
    for (const horizon of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => featureSpec(horizon)).toThrow(RangeError);
    }
  });
});

describe('feature engine', () => {
  it('halves a counter in one half-life', () => {
    const engine = new FeatureEngine(spec);
    engine.observe(read('a', 0, 3));
    const oneHorizon = spec.accessHalfLives.indexOf(1);
    expect(engine.ewma(0, oneHorizon)[0]).toBe(3);
    expect(engine.ewma(10, oneHorizon)[0]).toBeCloseTo(1.5, 12);
    expect(engine.ewma(20, oneHorizon)[0]).toBeCloseTo(0.75, 12);
  });

  it('keeps what it knows while it grows, by copying and in place, and so do views taken before', () => {
    const engine = new FeatureEngine(spec);
    const count = 140_000;
    let early: Moment | undefined;
    for (let i = 0; i < count; i++) {
      engine.observe({ key: String(i), op: i % 2 ? 'W' : 'R', at: i });
      if (i === 70_000) early = engine.moment(70_001);
    }
    const wrong = engine.firstSeen().findIndex((time, i) => time !== i);
    expect(wrong).toBe(-1);
    expect(engine.changeTotals().findIndex((total, i) => total !== i % 2)).toBe(-1);
    const slots = [0, 1023, 1024, 65_535, 65_536, 70_000];
    const fresh = new FeatureEngine(spec);
    for (let i = 0; i <= 70_000; i++) fresh.observe({ key: String(i), op: i % 2 ? 'W' : 'R', at: i });
    const writer = new VectorWriter(early!);
    const vectors = new Float32Array(slots.length * spec.columns.length);
    for (const [row, slot] of slots.entries()) writer.write(slot, vectors, row);
    expect(vectors).toEqual(fresh.matrix(70_001, slots));
    expect(early?.size).toBe(70_001);
  });

  it('counts with the vectors what it counts alone, bit for bit, from a moment ago to as good as never', () => {
    const engine = new FeatureEngine(spec);
    for (let i = 0; i < 400; i++)
      engine.observe({ key: String(i), op: i % 2 ? 'W' : 'R', at: 1e5 - 10 * 1.03 ** i });
    const writer = new VectorWriter(engine.moment(1e5));
    const vector = new Float32Array(spec.columns.length);
    const { accessHalfLives, changeHalfLives } = spec;
    const factor = (halfLife: number) => horizonFactor(10, halfLife * 10, 1e5 - engine.startedAt);
    const alone = [
      ...accessHalfLives.map((h, i) => engine.ewma(1e5, i).map((count) => count * factor(h))),
      ...changeHalfLives.map((h, i) => engine.changeEwma(1e5, i).map((count) => count * factor(h))),
    ];
    for (let slot = 0; slot < engine.size; slot++) {
      writer.write(slot, vector, 0);
      expect(alone.map((_, counter) => writer.count(counter))).toEqual(alone.map((counts) => counts[slot]));
      // neither a tiny count nor a feature takes the slow way of a processor
      for (const value of vector) expect(value === 0 || Math.abs(value) > 1e-37).toBe(true);
    }
  });

  it('takes logarithms as exactly as 32 bits need', () => {
    expect(log1p(0)).toBe(0);
    for (let x = 1e-12; x < 1e12; x *= 1.0137) expect(Math.abs(log1p(x) - Math.log1p(x))).toBeLessThan(1e-14);
    expect(log1p(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
    expect(log1p(Number.NaN)).toBeNaN();
  });

  it('counts a change as an access too, and a read not as a change', () => {
    const engine = new FeatureEngine(spec);
    engine.observeAll([read('a', 1), change('a', 2), change('b', 3)]);
    expect([...engine.lfu()]).toEqual([2, 1]);
    expect([...engine.changeTotals()]).toEqual([1, 1]);
    expect([...engine.lastAccess()]).toEqual([2, 3]);
    expect([...engine.lastChange()]).toEqual([2, 3]);
    expect([...engine.firstSeen()]).toEqual([1, 3]);
    const row = engine.matrix(3, [0]);
    expect(row[column('change_share')]).toBe(0.5);
  });

  it('honours the weight of a sampled access', () => {
    const sampled = new FeatureEngine(spec);
    const full = new FeatureEngine(spec);
    sampled.observe(read('a', 5, 4));
    full.observeAll([read('a', 5), read('a', 5), read('a', 5), read('a', 5)]);
    expect(sampled.matrix(9)).toEqual(full.matrix(9));
  });

  it('does not depend on the order of equal timestamps', () => {
    const accesses = [
      change('a', 1),
      read('a', 4),
      change('a', 4),
      read('b', 4),
      read('a', 4),
      change('b', 4),
    ];
    const rows = (log: Access[]) => {
      const engine = new FeatureEngine(spec);
      engine.observeAll(log);
      const slots = ['a', 'b'].map((key) => engine.slotOf(key)!);
      return engine.matrix(7, slots);
    };
    expect(rows([accesses[0]!, ...accesses.slice(1).reverse()])).toEqual(rows(accesses));
    expect([...accesses].reverse().sort(compareAccesses)).toEqual([...accesses].sort(compareAccesses));
  });

  it('takes a late event with the decay that it has by now', () => {
    const late = new FeatureEngine(spec);
    late.observeAll([read('a', 0), read('a', 8), change('a', 3)]);
    const inOrder = new FeatureEngine(spec);
    inOrder.observeAll([read('a', 0), change('a', 3), read('a', 8)]);
    late.matrix(12).forEach((value, i) => {
      expect(value).toBeCloseTo(inOrder.matrix(12)[i]!, 6);
    });
    late.observe(read('a', -5));
    expect(late.firstSeen()[0]).toBe(-5);
    expect(late.lastAccess()[0]).toBe(8);
    expect(late.startedAt).toBe(-5);
  });

  it('gives the same rows by range, by slots and as a whole, beyond its first capacity', () => {
    const engine = new FeatureEngine(spec);
    for (let i = 0; i < 5000; i++)
      engine.observe(i % 3 ? read(`k${i % 2500}`, i) : change(`k${i % 2500}`, i));
    expect(engine.size).toBe(2500);
    const columns = spec.columns.length;
    const whole = engine.matrix(6000);
    expect(whole).toHaveLength(2500 * columns);
    expect(engine.matrixRange(6000, 1200, 1300)).toEqual(whole.slice(1200 * columns, 1300 * columns));
    expect(engine.matrix(6000, [2499, 7])).toEqual(
      Float32Array.from([...whole.slice(2499 * columns), ...whole.slice(7 * columns, 8 * columns)]),
    );
  });

  it('refuses a half-life that the spec has not', () => {
    const engine = new FeatureEngine(spec);
    expect(() => engine.ewma(0, spec.accessHalfLives.length)).toThrow(RangeError);
    expect(() => engine.changeEwma(0, -1)).toThrow(RangeError);
  });
});

describe('horizon factor', () => {
  it('turns the decayed count of a steady stream into its count per horizon, also while the log is young', () => {
    for (const seconds of [2, 20, 2000]) {
      const engine = new FeatureEngine(spec);
      for (let i = 0; i < seconds * 50; i++) engine.observe(read('a', i / 50));
      spec.accessHalfLives.forEach((halfLife, i) => {
        const count = engine.ewma(seconds, i)[0]!;
        const expected = count * horizonFactor(10, halfLife * 10, seconds);
        expect(expected / 500).toBeGreaterThan(0.9);
        expect(expected / 500).toBeLessThan(1.1);
      });
    }
  });

  it('stays finite for a log of one instant', () => {
    expect(Number.isFinite(horizonFactor(10, 1280, 0))).toBe(true);
  });
});
