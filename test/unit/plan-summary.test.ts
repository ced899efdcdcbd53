import { describe, expect, it } from 'vitest';
import { type PlanSummary, summarise, whySlow } from '../../src/migration/statements/plan-summary.ts';

const node = (type: string, cost: number, more: object = {}) => ({
  'Node Type': type,
  'Total Cost': cost,
  'Plan Rows': 1,
  ...more,
});

describe('a plan in short', () => {
  it('has its cost, what is scanned, its indexes, and whether it sorts more than a handful', () => {
    const plan = node('Limit', 90, {
      Plans: [
        node('Sort', 80, {
          'Plan Rows': 5000,
          Plans: [
            node('Append', 70, {
              Plans: [
                node('Seq Scan', 30, { 'Relation Name': 't' }),
                node('Index Scan', 8, { 'Relation Name': 's', 'Index Name': 's_pkey' }),
                node('Seq Scan', 30, { 'Relation Name': 't' }),
              ],
            }),
          ],
        }),
      ],
    });
    expect(summarise([{ Plan: plan }])).toEqual({
      cost: 90,
      scanned: ['t'],
      sorts: true,
      indexes: ['s_pkey'],
    });
    expect(summarise([{ Plan: node('Sort', 3) }]).sorts).toBe(false);
  });
});

describe('slow', () => {
  const plan = (cost: number, more: Partial<PlanSummary> = {}): PlanSummary => ({
    cost,
    scanned: [],
    sorts: false,
    indexes: [],
    ...more,
  });
  const of = (table: string) => (table === 'log' ? '' : `the ${table}`);
  it.each([
    ['a lookup in three branches', plan(8), plan(60), null],
    [
      'a scan that was there before',
      plan(900, { scanned: ['s'] }),
      plan(2000, { scanned: ['s', 't'] }),
      null,
    ],
    ['a list of keys', plan(50), plan(600), null],
    ['a scan of the log alone', plan(50), plan(600, { scanned: ['log'] }), null],
    ['a scan of few pages', plan(8), plan(90, { scanned: ['t'] }), null],
    [
      'a scan',
      plan(8),
      plan(450, { scanned: ['t', 's'] }),
      'reads all of the t and the s: costs 56 times as much',
    ],
    [
      'a sort',
      plan(50),
      plan(450, { sorts: true }),
      'sorts what an index gives in order now: costs 9.0 times as much',
    ],
    [
      'four times the work',
      plan(1000, { scanned: ['s'] }),
      plan(4000),
      'reads more: costs 4.0 times as much',
    ],
  ])('%s', (_, before, now, why) => {
    expect(whySlow(before, now, of)).toBe(why);
  });
});
