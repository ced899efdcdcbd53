import { describe, expect, test } from 'vitest';
import { auditRows, Ledger, type Order } from '../../src/demo/ledger.ts';

const open = { status: 'open', cents: 100 } as const;
const row = (id: number, order: Order = open) => ({ id, ...order });

function ledgerOf(...ids: number[]): Ledger {
  const ledger = new Ledger();
  for (const id of ids) ledger.put(id, 1, open);
  return ledger;
}

describe('the ledger', () => {
  test('lets one write of a row be under way', () => {
    const ledger = ledgerOf(1);
    expect(ledger.begin(1)).toBe(true);
    expect(ledger.begin(1)).toBe(false);
    ledger.commit(1, { status: 'paid' });
    expect(ledger.order(1)).toEqual({ status: 'paid', cents: 100 });
    expect(ledger.begin(1)).toBe(true);
    ledger.abandon(1);
    expect(ledger.order(1)).toEqual({ status: 'paid', cents: 100 });
    expect(ledger.begin(2)).toBe(false);
  });

  test('tells a read that a write was under way at its beginning, at its end, or in between', () => {
    const ledger = ledgerOf(1);
    const before = ledger.movesOf(1);
    expect(ledger.movesOf(1)).toBe(before);
    ledger.begin(1);
    expect(ledger.movesOf(1)).toBeNaN(); // equal to nothing, not even itself
    ledger.commit(1, { cents: 5 });
    expect(ledger.movesOf(1)).not.toBe(before);
  });

  test('grows with the keys', () => {
    const ledger = ledgerOf(1);
    ledger.inserted(100_000, 7, open);
    expect(ledger.order(100_000)).toEqual(open);
    expect(ledger.customer(100_000)).toBe(7);
    expect(ledger.order(99_999)).toBeNull();
    expect(ledger.order(1)).toEqual(open);
  });
});

describe('the audit', () => {
  test('finds a row that is missing, extra or different', () => {
    const ledger = ledgerOf(1, 2, 3, 4);
    ledger.begin(3);
    ledger.commit(3, null);
    ledger.begin(4);
    ledger.commit(4, { cents: 7 });
    const audit = auditRows(ledger, [row(1), row(3), row(4), row(9)]);
    expect(audit).toEqual({
      compared: 5,
      missing: 1,
      extra: 2,
      different: 1,
      doubtful: 0,
      written: 2,
      keys: [3, 4, 9, 2],
    });
    expect(auditRows(ledger, [row(1), row(2), row(4, { status: 'open', cents: 7 })])).toMatchObject({
      missing: 0,
      extra: 0,
      different: 0,
    });
  });

  test('leaves out what nobody can know', () => {
    const ledger = ledgerOf(1, 2);
    ledger.begin(1);
    ledger.doubt(1);
    ledger.begin(2);
    ledger.doubt(2);
    ledger.doubtfulInserts++;
    const audit = auditRows(ledger, [row(1, { status: 'sent', cents: 1 }), row(3)]);
    expect(audit).toMatchObject({ missing: 0, extra: 0, different: 0, doubtful: 2 });
    expect(ledger.begin(1)).toBe(false);
  });
});
