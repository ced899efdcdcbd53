import { describe, expect, test } from 'vitest';
import {
  hitShares,
  insertedAfter,
  latencies,
  oracleShare,
  percentile,
  readCounts,
} from '../../src/demo/measure.ts';
import { formatRecord, type OperationRecord, parseRecord } from '../../src/demo/record.ts';

const operation = (at: number, changes: Partial<OperationRecord> = {}): OperationRecord => ({
  at,
  kind: 'read',
  served: 'source',
  ms: 1,
  outcome: 'ok',
  retries: 0,
  ids: ['1'],
  ...changes,
});

describe('the record', () => {
  test('comes back as it was written', () => {
    const record = operation(1722945600.125, {
      kind: 'insert',
      served: 'target',
      ms: 12.25,
      outcome: 'stale',
      retries: 2,
      ids: ['7', '8'],
    });
    expect(parseRecord(formatRecord(record).trimEnd())).toEqual(record);
    expect(parseRecord(formatRecord(operation(1, { ids: [] })).trimEnd()).ids).toEqual([]);
  });

  test('refuses a torn line', () => {
    expect(() => parseRecord('1722945600.125,read')).toThrow(SyntaxError);
  });
});

describe('latencies', () => {
  test('percentiles are values that occurred', () => {
    expect(percentile([], 0.5)).toBeNull();
    expect(percentile([3], 0.99)).toBe(3);
    expect(percentile([1, 2, 3, 4], 0.5)).toBe(2);
    expect(percentile([1, 2, 3, 4], 0.51)).toBe(3);
    expect(percentile([1, 2, 3, 4], 1)).toBe(4);
  });

  test('go by when an operation was due; a span has no beginning of its own but an end', () => {
    const records = [
      operation(1, { ms: 5 }),
      operation(2, { ms: 9 }),
      operation(3, { ms: 1, outcome: 'error' }),
    ];
    expect(
      latencies(records, {
        before: { from: 0, to: 2 },
        after: { from: 2, to: 9 },
        never: { from: 9, to: 10 },
      }),
    ).toEqual({
      before: { operations: 2, p50_ms: 5, p99_ms: 9, max_ms: 9 },
      after: { operations: 1, p50_ms: 1, p99_ms: 1, max_ms: 1 },
      never: { operations: 0, p50_ms: null, p99_ms: null, max_ms: null },
    });
  });
});

describe('hit shares', () => {
  const records = [
    operation(1, { ids: ['9'] }),
    operation(2, { ids: ['1', '2', '3'] }),
    operation(3, { ids: ['1'], served: 'overlay' }),
    operation(3, { ids: ['1'], kind: 'update' }),
    operation(3, { ids: ['1'], outcome: 'error' }),
    operation(4, { ids: ['4'] }),
    operation(5, { ids: ['9'] }),
  ];
  const counts = readCounts(records, { from: 1, to: 4 });

  test('count each row of each answered read in the span, whichever table served it', () => {
    expect([...counts]).toEqual([
      ['1', 2],
      ['2', 1],
      ['3', 1],
      ['4', 1],
    ]);
  });

  test('are shares of all reads', () => {
    const sets = new Map([
      ['good', new Set(['1', '2'])],
      ['poor', new Set(['9'])],
    ] as const);
    expect(hitShares(counts, sets)).toEqual({ reads: 5, shares: { good: 3 / 5, poor: 0 } });
    expect(hitShares(new Map(), sets)).toEqual({ reads: 0, shares: { good: null, poor: null } });
  });

  test('of no choice exceed the oracle’s, which knows only rows that could be chosen', () => {
    expect(oracleShare(counts, 1)).toBe(2 / 5);
    expect(oracleShare(counts, 2)).toBe(3 / 5);
    expect(oracleShare(counts, 99)).toBe(1);
    expect(oracleShare(counts, 2, (key) => key !== '1')).toBe(2 / 5);
    expect(oracleShare(new Map(), 2)).toBeNull();
  });

  test('a row is new when its insertion was answered later', () => {
    const inserts = [
      operation(10, { kind: 'insert', ids: ['5'], ms: 400 }),
      operation(10, { kind: 'insert', ids: ['6'], ms: 600 }),
    ];
    expect([...insertedAfter(inserts, 10.5)]).toEqual(['6']);
  });
});
