import { describe, expect, it } from 'vitest';
import { backtest } from '../../src/backtest/backtest.ts';
import { prefixGroup } from '../../src/backtest/options.ts';
import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';

const hour = 3600;
const tenants = 200;
const rowsEach = 12;

/**
 * Forty days of two hundred tenants, a few of them busy. Twice a day a quiet tenant has a sale of three hours: its rows
 * are used thirty times as much as those of the busiest. Nothing but the calendar tells who is next.
 */
function sales(days: number) {
  const rng = seededRng(11);
  const events = [];
  const log: Access[] = [];
  const access = (tenant: number, at: number) => {
    const row = Math.floor(rowsEach * rng() ** 2);
    log.push({ key: `t${tenant}:${row}`, op: rng() < 0.2 ? 'W' : 'R', at });
  };
  for (let at = 0; at < days * 24 * hour; at += 60) access(Math.floor(tenants * rng() ** 3), at + 60 * rng());
  for (let day = 1; day <= days; day++) {
    for (const begin of [9, 15]) {
      const tenant = 100 + Math.floor(100 * rng());
      const start = (day * 24 + begin) * hour;
      events.push({ start, end: start + 3 * hour, group: `t${tenant}`, kind: 'sale', weight: 1 });
      for (let at = start; at < start + 3 * hour; at += 10) access(tenant, at + 10 * rng());
    }
  }
  return { log: log.sort((a, b) => a.at - b.at), events };
}

describe('announced events', () => {
  it('bring their rows into the choice before anybody has asked for them', async () => {
    const { log, events } = sales(20);
    // three cuts just before a sale
    const found: Record<'accesses' | 'told' | 'untold' | 'lfu' | 'ewma', number>[] = [];
    for (const begin of [16 * 24 + 9, 17 * 24 + 15, 18 * 24 + 9]) {
      const common = {
        accesses: log,
        at: (begin - 0.5) * hour,
        horizonSeconds: 4 * hour,
        budgets: [0.05],
        seed: 1,
      };
      const world = { groupOf: prefixGroup, events };
      const [told] = await backtest({ ...common, world });
      // the same rows are looked at, but the prediction knows only of events that are over
      const over = events.filter((event) => event.end <= common.at);
      const [untold] = await backtest({ ...common, world: { groupOf: prefixGroup, events: over } });
      const announced = told!.scored!.announced!;
      const on = new Set<string | null>(
        events.filter((event) => event.start === begin * hour).map(({ group }) => group),
      );
      const sold = log.filter(
        ({ key, at }) => at >= common.at && at < common.at + 4 * hour && on.has(prefixGroup(key)),
      );
      const untoldKeys = new Set(untold!.keys.chosen);
      found.push({
        accesses: announced.accesses,
        told: announced.hit_share.chosen!,
        lfu: announced.hit_share.lfu!,
        ewma: announced.hit_share.ewma!,
        untold: sold.filter(({ key }) => untoldKeys.has(key)).length / sold.length,
      });
    }
    const mean = (name: 'told' | 'untold' | 'lfu' | 'ewma') =>
      found.reduce((sum, one) => sum + one[name], 0) / found.length;
    expect(Math.min(...found.map(({ accesses }) => accesses))).toBeGreaterThan(500);
    expect(mean('told')).toBeGreaterThanOrEqual(0.95);
    for (const name of ['untold', 'lfu', 'ewma'] as const) expect(mean(name), name).toBeLessThan(0.6);
  }, 180_000);
});
