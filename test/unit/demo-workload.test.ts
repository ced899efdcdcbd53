import { describe, expect, test } from 'vitest';
import { seededRng } from '../../src/core/rng.ts';
import { statementFor, tableOf } from '../../src/demo/statements.ts';
import { type Operation, Workload } from '../../src/demo/workload.ts';

/** 200 customers with 20 orders each. */
function workload(seed = 1): Workload {
  const orders = Array.from({ length: 200 }, (_, c) => Array.from({ length: 20 }, (_, i) => 1 + c + 200 * i));
  return new Workload({ orders, day: 30, rng: seededRng(seed) });
}

function operations(count: number, seed = 1): Operation[] {
  const shop = workload(seed);
  return Array.from({ length: count }, (_, i) => shop.next(i / 500));
}

describe('the workload', () => {
  test('is the same for the same seed', () => {
    expect(operations(500)).toEqual(operations(500));
    expect(operations(500)).not.toEqual(operations(500, 2));
  });

  test('reads most, in every protocol, single orders and pages', () => {
    const all = operations(5000);
    const reads = all.filter((operation) => operation.kind === 'read');
    expect(reads.length / all.length).toBeGreaterThan(0.7);
    for (const protocol of ['simple', 'extended', 'named']) {
      expect(reads.some((read) => read.protocol === protocol && read.ids.length === 1)).toBe(true);
      expect(reads.some((read) => read.protocol === protocol && read.ids.length > 3)).toBe(true);
    }
    for (const kind of ['insert', 'update', 'delete'] as const)
      expect(all.some((operation) => operation.kind === kind)).toBe(true);
  });

  test('leaves deleted orders alone, and turns to new ones', () => {
    const shop = workload();
    for (let id = 1; id <= 2000; id++) shop.deleted(id, 1 + ((id - 1) % 200));
    shop.created(4001, 7);
    const ids = new Set<number>();
    for (let i = 0; i < 3000; i++) {
      const operation = shop.next(i / 500);
      if (operation.kind === 'read') for (const id of operation.ids) ids.add(id);
      else if (operation.kind !== 'insert') ids.add(operation.id);
    }
    expect([...ids].filter((id) => id <= 2000)).toEqual([]);
    expect(ids).toContain(4001);
  });
});

describe('statements', () => {
  const old = tableOf('orders');
  const target = tableOf('public.orders_v2');

  test('speak the format of the table', () => {
    expect([old.format, target.format]).toEqual(['old', 'new']);
    const update = { kind: 'update', id: 5, cents: 1205, protocol: 'extended' } as const;
    expect(statementFor(update, old)).toEqual({
      text: 'update orders set amount_cents = $1, updated_at = now() where id = $2',
      values: [1205, 5],
    });
    expect(statementFor(update, target).values).toEqual(['12.05', 5]);
    const paid = { kind: 'update', id: 5, status: 'paid', protocol: 'simple' } as const;
    expect(statementFor(paid, old).text).toContain("status = 'paid'");
    expect(statementFor(paid, target).text).toContain('status = 1');
  });

  test('prepared ones are named after their table: the same name never has two texts', () => {
    const texts = new Map<string, string>();
    for (const operation of operations(3000)) {
      for (const table of [old, target]) {
        const { name, text } = statementFor(operation, table);
        if (name === undefined) continue;
        expect(texts.get(name) ?? text).toBe(text);
        texts.set(name, text);
      }
    }
    expect(texts.size).toBeGreaterThanOrEqual(8);
  });
});
