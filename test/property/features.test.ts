import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Access } from '../../src/core/access.ts';
import { horizonFactor } from '../../src/features/decay.ts';
import { FeatureEngine } from '../../src/features/engine.ts';
import { compareAccesses } from '../../src/features/order.ts';
import { featureSpec } from '../../src/features/spec.ts';

const horizon = 10;
const spec = featureSpec(horizon);
const now = 100;

const access: fc.Arbitrary<Access> = fc.record({
  key: fc.constantFrom('a', 'b', 'c', '["1","x"]'),
  op: fc.constantFrom('R' as const, 'W' as const),
  // quarters: equal timestamps are common, as they are in real logs
  at: fc.integer({ min: 0, max: 400 }).map((quarter) => quarter / 4),
  weight: fc.constantFrom(1, 1, 1, 2, 10),
});
const log = fc.array(access, { minLength: 1, maxLength: 60 });

/** The features of one key from the whole log at once, by the definition and in no hurry. */
function naive(accesses: readonly Access[], key: string): number[] {
  const own = accesses.filter((a) => a.key === key);
  const changes = own.filter((a) => a.op === 'W');
  const started = Math.min(...accesses.map((a) => a.at));
  const decayed = (of: readonly Access[], halfLife: number) =>
    of.reduce((sum, a) => sum + a.weight! * 2 ** (-(now - a.at) / (halfLife * horizon)), 0) *
    horizonFactor(horizon, halfLife * horizon, now - started);
  const total = (of: readonly Access[]) => of.reduce((sum, a) => sum + a.weight!, 0);
  const since = (time: number) => Math.log1p(64 * Math.min(1024, (now - time) / horizon));
  const times = own.map((a) => a.at);
  return [
    ...spec.accessHalfLives.map((h) => Math.log1p(decayed(own, h))),
    ...spec.changeHalfLives.map((h) => Math.log1p(decayed(changes, h))),
    since(Math.max(...times)),
    since(Math.max(Number.NEGATIVE_INFINITY, ...changes.map((a) => a.at))),
    since(Math.min(...times)),
    Math.log1p((total(own) * horizon) / Math.max(now - started, horizon / 64)),
    total(changes) / total(own),
  ];
}

function engineOf(accesses: Iterable<Access>): FeatureEngine {
  const engine = new FeatureEngine(spec);
  engine.observeAll(accesses);
  return engine;
}

describe('feature engine', () => {
  it('agrees with a naive recomputation, whatever order the events come in', () => {
    fc.assert(
      fc.property(log, (accesses) => {
        const engine = engineOf(accesses);
        engine.keys().forEach((key, slot) => {
          const row = engine.matrix(now, [slot]);
          naive(accesses, key).forEach((value, i) => {
            expect(row[i], `${key} ${spec.columns[i]}`).toBeCloseTo(value, 4);
          });
        });
      }),
    );
  });

  it('is bit-identical for every permutation of a log once that is in canonical order', () => {
    const permuted = log.chain((accesses) =>
      fc.tuple(
        fc.constant(accesses),
        fc.shuffledSubarray(accesses, { minLength: accesses.length, maxLength: accesses.length }),
      ),
    );
    fc.assert(
      fc.property(permuted, ([accesses, other]) => {
        const first = engineOf([...accesses].sort(compareAccesses));
        const second = engineOf([...other].sort(compareAccesses));
        expect(second.keys()).toEqual(first.keys());
        expect(second.matrix(now)).toEqual(first.matrix(now));
      }),
    );
  });

  it('reads without changing: asking for features in between alters nothing', () => {
    fc.assert(
      fc.property(log, (accesses) => {
        const asked = new FeatureEngine(spec);
        for (const one of accesses) {
          asked.observe(one);
          asked.matrix(now + 50);
          asked.ewma(now + 90, 0);
        }
        expect(asked.matrix(now)).toEqual(engineOf(accesses).matrix(now));
      }),
    );
  });

  it('gives finite numbers only', () => {
    fc.assert(
      fc.property(log, fc.double({ min: 0, max: 1e7, noNaN: true }), (accesses, when) => {
        expect(engineOf(accesses).matrix(when).every(Number.isFinite)).toBe(true);
      }),
    );
  });
});
