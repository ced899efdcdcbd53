import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Access } from '../../src/core/access.ts';
import { FeatureEngine } from '../../src/features/engine.ts';
import { readSnapshot, writeSnapshot } from '../../src/features/snapshot.ts';
import { featureSpec } from '../../src/features/spec.ts';

const day = 86_400;
const spec = featureSpec(3600, { grouped: true });
const event = (start: number, group: string | null, kind: string) => ({
  ...{ start: start * day, end: (start + 0.5) * day, group, kind, weight: 1 },
});
const options = {
  groupOf: (key: string) => key[0] ?? null,
  events: [event(3, 'a', 'sale'), event(3, 'a', 'sale'), event(9, null, 'holiday'), event(15, 'b', 'sale')],
};
const now = 15 * day;

const access: fc.Arbitrary<Access> = fc.record({
  key: fc.oneof(
    fc.constantFrom('a1', 'a2', 'b1', '', '["1","ü"]'),
    fc.string({ unit: 'grapheme', maxLength: 5 }),
  ),
  op: fc.constantFrom('R' as const, 'W' as const),
  at: fc.integer({ min: 0, max: 15 * 96 }).map((quarters) => quarters * 900),
  weight: fc.constantFrom(1, 1, 7),
});
const log = fc.array(access, { maxLength: 40 });

function engineOf(accesses: Iterable<Access>): FeatureEngine {
  const engine = new FeatureEngine(spec, options);
  engine.observeAll(accesses);
  return engine;
}

const fileOf = (engine: FeatureEngine) => Buffer.concat([...writeSnapshot(engine.snapshot())]);

function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

/** All that an engine gives, to the bit. */
const all = (engine: FeatureEngine) => ({
  keys: engine.keys(),
  startedAt: engine.startedAt,
  vectors: Buffer.from(engine.matrix(now).buffer).toString('hex'),
  outlook: [engine.outlook(now, null), engine.outlook(now, 'a')],
  share: engine.groupShare(now, 5),
  changes: engine.changeTotals(),
  last: engine.lastChange(),
});

describe('snapshot of a feature engine', () => {
  it('restores to the same bits, which stay the same after further events', async () => {
    await fc.assert(
      fc.asyncProperty(log, log, fc.integer({ min: 1, max: 5000 }), async (before, after, size) => {
        const original = engineOf(before);
        const file = fileOf(original);
        original.observeAll(after.slice(0, 1)); // the snapshot is a copy
        const restored = FeatureEngine.restore(spec, await readSnapshot(spec, pieces(file, size)), options);
        expect(all(restored)).toEqual(all(engineOf(before)));
        restored.observeAll(after);
        expect(all(restored)).toEqual(all(engineOf([...before, ...after])));
        expect(fileOf(restored).equals(fileOf(engineOf([...before, ...after])))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  const file = fileOf(
    engineOf([
      { key: 'a1', op: 'W', at: 3.2 * day },
      { key: 'ü', op: 'R', at: 10 * day },
    ]),
  );
  const refusal = { code: 'SNAPSHOT_REFUSED' };

  it('is refused when any bit is changed, and wherever it is cut off', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: file.length - 1 }), fc.nat({ max: 7 }), async (at, bit) => {
        const changed = Buffer.from(file);
        changed[at]! ^= 1 << bit;
        await expect(readSnapshot(spec, [changed])).rejects.toMatchObject(refusal);
        await expect(readSnapshot(spec, [file.subarray(0, at)])).rejects.toMatchObject(refusal);
      }),
      { numRuns: 300 },
    );
  });

  it('is refused when something follows, or it is of another spec', async () => {
    await expect(readSnapshot(spec, [file, Buffer.of(0)])).rejects.toThrow('something follows its end');
    const other = featureSpec(7200, { grouped: true });
    await expect(readSnapshot(other, [file])).rejects.toThrow('other features');
    const snapshot = await readSnapshot(spec, [file]);
    expect(() => FeatureEngine.restore(other, snapshot, options)).toThrow('other features');
    expect(() => FeatureEngine.restore(spec, { ...snapshot, keys: ['a1'] })).toThrow('one row a key');
    expect(() => FeatureEngine.restore(spec, { ...snapshot, keys: ['a1', 'a1'] })).toThrow('a key twice');
    const groups = { ...snapshot.groups, totals: new Float64Array(1) };
    expect(() => FeatureEngine.restore(spec, { ...snapshot, groups })).toThrow('does not fit together');
  });

  it('finds events again when the calendar has changed', async () => {
    const accesses: Access[] = Array.from({ length: 500 }, (_, i) => ({ key: 'a1', op: 'R', at: i * 2000 }));
    const snapshot = engineOf(accesses).snapshot();
    const events = [event(1, 'c', 'new'), ...options.events.slice(1)];
    const restored = FeatureEngine.restore(spec, snapshot, { ...options, events });
    const [sale, , holiday] = snapshot.groups.during.map(({ accesses: count }) => count);
    expect([sale, holiday]).toEqual([22, 22]);
    expect(restored.snapshot().groups.during.map((one) => one.accesses)).toEqual([0, 22, 22, 0]);
  });
});
