import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { calendarCsv, eventsCsv } from '../../data/generate/csv.ts';
import { driftingZipf } from '../../data/generate/drifting-zipf.ts';
import { orderLifecycle } from '../../data/generate/order-lifecycle.ts';
import { samples } from '../../data/generate/samples.ts';
import { seasonalTenants } from '../../data/generate/seasonal-tenants.ts';
import { traceStart } from '../../data/generate/trace.ts';
import type { Access } from '../../src/core/access.ts';

const day = 86_400;
const small = { seed: 3, events: 30_000, keys: 2_000, days: 14 };
const folder = new URL('../../data/samples/', import.meta.url);

describe.each(Object.entries(samples))('%s', (name, { generate, options }) => {
  test('the same seed gives the same bytes, another seed others', () => {
    const bytes = (seed: number) => eventsCsv(generate({ ...small, seed }));
    expect(bytes(5)).toBe(bytes(5));
    expect(bytes(5)).not.toBe(bytes(6));
  });

  test('keeps to its options', () => {
    for (const days of [0.3, 14]) {
      const { accesses } = generate({ ...small, days });
      expect(accesses).toHaveLength(small.events);
      expect(new Set(accesses.map(({ key }) => key)).size).toBeLessThanOrEqual(small.keys);
      const times = accesses.map(({ at }) => at);
      expect(times).toEqual(times.toSorted((a, b) => a - b));
      expect(times[0]).toBeGreaterThanOrEqual(traceStart);
      expect(times.at(-1)).toBeLessThanOrEqual(traceStart + days * day);
    }
    expect(() => generate({ ...small, keys: 0 })).toThrow('keys must be above 0');
    expect(() => generate({ ...small, events: 1.5 })).toThrow('events must be a whole number');
  });

  test('works with a handful of keys', () => {
    expect(generate({ seed: 1, events: 100, keys: 3, days: 1 }).accesses.length).toBeGreaterThanOrEqual(100);
  });

  test('the committed sample is what the generator makes now', async () => {
    const trace = generate(options);
    expect(await text(`${name}.csv.gz`)).toBe(eventsCsv(trace));
    if (trace.calendar) expect(await text(`${name}.calendar.csv`)).toBe(calendarCsv(trace.calendar));
  });
});

describe('seasonal tenants', () => {
  const { accesses, calendar = [] } = seasonalTenants(small);

  test('a few tenants and a few rows get most accesses', () => {
    expect(topShare(accesses.map(({ key }) => key.split(':')[0]!))).toBeGreaterThan(0.3);
    expect(topShare(accesses.map(({ key }) => key))).toBeGreaterThan(0.4);
  });

  test('day and night show, in each time zone at another hour', () => {
    const busiest = ['t1', 't2', 't3'].map((tenant) => {
      const byHour = new Array<number>(24).fill(0);
      for (const { key, at } of accesses) {
        if (key.startsWith(`${tenant}:`)) byHour[Math.floor((at - traceStart) / 3_600) % 24]!++;
      }
      expect(Math.max(...byHour)).toBeGreaterThan(8 * (1 + Math.min(...byHour)));
      return byHour.indexOf(Math.max(...byHour));
    });
    expect(new Set(busiest).size).toBe(3);
  });

  test('the weekly rhythm shows: this Saturday is like the last one, not like Friday', () => {
    const perDay = new Array<number>(small.days).fill(0);
    for (const { at } of accesses) perDay[Math.floor((at - traceStart) / day)]!++;
    const weekdays = [0, 1, 2, 3, 7, 8, 9, 10].map((i) => perDay[i]!);
    const weekends = [5, 6, 12, 13].map((i) => perDay[i]!);
    expect(mean(weekends)).toBeLessThan(0.8 * mean(weekdays));
  });

  test('an announced promotion multiplies its tenant’s accesses by about its weight', () => {
    // whole days compare with the same weekdays a week before or after, when there was no promotion
    const { accesses, calendar = [] } = seasonalTenants({ ...small, events: 300_000, days: 28 });
    const during = (group: string, start: number, end: number) =>
      accesses.filter(({ key, at }) => at >= start && at < end && key.startsWith(`${group}:`)).length;
    let promoted = 0;
    let expected = 0;
    for (const { start, end, group, weight } of calendar) {
      for (const shift of [-7 * day, 7 * day]) {
        const [from, to] = [start + shift, end + shift];
        const outside = from < traceStart || to > traceStart + 28 * day || end > traceStart + 28 * day;
        if (outside || calendar.some((o) => o.group === group && o.start < to && from < o.end)) continue;
        promoted += during(group, start, end);
        expected += during(group, from, to) * weight;
        break;
      }
    }
    expect(promoted / expected).toBeGreaterThan(0.9);
    expect(promoted / expected).toBeLessThan(1.1);
  });

  test('promotions begin within the trace, and a tenant has one at a time', () => {
    expect(calendar.length).toBeGreaterThan(5);
    for (const one of calendar) {
      expect(one.start).toBeGreaterThanOrEqual(traceStart);
      expect(one.start).toBeLessThan(traceStart + small.days * day);
      const clashes = calendar.filter((o) => o.group === one.group && o.start < one.end && one.start < o.end);
      expect(clashes).toEqual([one]);
    }
  });
});

describe('drifting Zipf', () => {
  const { accesses } = driftingZipf({ ...small, events: 60_000 });
  const top = (from: number, to: number) => {
    const part = accesses.filter(({ at }) => at >= traceStart + from * day && at < traceStart + to * day);
    return new Set(
      byFrequency(part.map(({ key }) => key))
        .slice(0, 100)
        .map(([key]) => key),
    );
  };

  test('at every moment the top tenth of the keys gets most accesses', () => {
    for (const [from, to] of [
      [0, 2],
      [6, 8],
      [12, 14],
    ] as const) {
      const part = accesses.filter(({ at }) => at >= traceStart + from * day && at < traceStart + to * day);
      expect(
        topShare(
          part.map(({ key }) => key),
          small.keys,
        ),
      ).toBeGreaterThan(0.6);
    }
  });

  test('who is popular stays for a day and is another at the end', () => {
    const first = top(0, 2);
    expect(common(first, top(2, 4))).toBeGreaterThan(60);
    expect(common(first, top(12, 14))).toBeLessThan(45);
  });
});

describe('order lifecycle', () => {
  const { accesses } = orderLifecycle({ ...small, events: 40_000, keys: 4_000 });
  const inserted = new Map<string, number>();
  for (const { key, op, at } of accesses) if (op === 'W' && !inserted.has(key)) inserted.set(key, at);
  // orders that were placed in the trace's first week: their number is above those of all older orders
  const order = (key: string) => Number(key.split(':')[1]);
  const oldest = Math.min(...accesses.filter(isFirst).map(({ key }) => order(key)));

  function isFirst({ key, op, at }: Access): boolean {
    return op === 'W' && inserted.get(key) === at && at > traceStart + 5 * day;
  }

  test('most accesses to an order fall into its first days', () => {
    const ages = accesses
      .filter(({ key }) => order(key) >= oldest)
      .map(({ key, at }) => at - inserted.get(key)!);
    const share = (days: number) => ages.filter((age) => age < days * day).length / ages.length;
    expect(share(0.5)).toBeGreaterThan(0.45);
    expect(share(4)).toBeGreaterThan(0.85);
    expect(share(4)).toBeLessThan(1);
  });

  test('changes cease before reads do', () => {
    const late = accesses.filter(({ key, at }) => order(key) >= oldest && at > inserted.get(key)! + 5 * day);
    expect(late.length).toBeGreaterThan(50);
    expect(late.every(({ op }) => op === 'R')).toBe(true);
  });

  test('nothing happens to an order before it is inserted, and customers return', () => {
    const first = new Map<string, Access>();
    for (const access of accesses) if (!first.has(access.key)) first.set(access.key, access);
    const fresh = [...first.values()].filter(({ key }) => order(key) >= oldest);
    expect(fresh.length).toBeGreaterThan(300);
    expect(fresh.every(({ op }) => op === 'W')).toBe(true);
    const perCustomer = byFrequency([...first.keys()].map((key) => key.split(':')[0]!));
    expect(perCustomer.filter(([, orders]) => orders > 3).length).toBeGreaterThan(50);
  });
});

async function text(name: string): Promise<string> {
  const bytes = await readFile(new URL(name, folder));
  return (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
}

function byFrequency(keys: readonly string[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** The share of the accesses that falls on the tenth of the keys that are used most. */
function topShare(keys: readonly string[], of?: number): number {
  const counts = byFrequency(keys);
  const tenth = counts.slice(0, Math.ceil((of ?? counts.length) / 10));
  return tenth.reduce((sum, [, n]) => sum + n, 0) / keys.length;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function common(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  return [...a].filter((key) => b.has(key)).length;
}
