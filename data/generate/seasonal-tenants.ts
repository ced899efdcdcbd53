import type { Access } from '../../src/core/access.ts';
import { type Rng, seededRng } from '../../src/core/rng.ts';
import {
  type CalendarEntry,
  checkOptions,
  daySeconds,
  hourSeconds,
  inOrder,
  shuffled,
  type Trace,
  type TraceOptions,
  traceStart,
  weightedIndex,
  zipfWeights,
} from './trace.ts';

/** New York, Berlin and Singapore in winter: hours ahead of UTC. */
const zones = [-5, 1, 8] as const;

/** Accesses in each local hour of a working day, the busiest hour being 1. Offices by day, shops in the evening. */
const office = [
  0.02, 0.02, 0.02, 0.02, 0.03, 0.05, 0.12, 0.35, 0.75, 1, 1, 0.95, 0.7, 0.85, 1, 0.95, 0.85, 0.6, 0.3, 0.15,
  0.08, 0.05, 0.03, 0.02,
];
const shop = [
  0.15, 0.08, 0.05, 0.03, 0.03, 0.05, 0.12, 0.25, 0.35, 0.4, 0.42, 0.45, 0.55, 0.5, 0.45, 0.45, 0.5, 0.6,
  0.75, 0.9, 1, 0.95, 0.7, 0.35,
];

interface Tenant {
  readonly name: string;
  /** accesses in an average hour, up to a factor common to all tenants */
  readonly size: number;
  readonly zone: number;
  readonly kind: 'office' | 'shop';
  /** rows of the tenant are numbered 1 … rows */
  readonly rows: number;
}

/**
 * A table shared by tenants: their sizes follow Zipf's law, each sleeps at night and on its own weekends (or, if it is a
 * shop, is busiest then) in one of three time zones. Now and then a tenant runs a promotion that the calendar announces:
 * it is several times busier then, and on rows that are otherwise hardly used. Keys are `tenant:row`.
 * @throws RangeError for options that are out of range
 */
export function seasonalTenants(options: TraceOptions): Trace {
  checkOptions(options);
  const rng = seededRng(options.seed);
  const tenants = makeTenants(options.keys, rng);
  const calendar = makeCalendar(tenants, options.days, rng);
  const hours = Math.ceil(options.days * 24);
  const rates: number[] = [];
  const promoted: boolean[] = [];
  for (const tenant of tenants) {
    const events = calendar.filter(({ group }) => group === tenant.name);
    for (let hour = 0; hour < hours; hour++) {
      const at = traceStart + hour * hourSeconds;
      const event = events.find(({ start, end }) => at >= start && at < end);
      promoted.push(event !== undefined);
      const seen = Math.min(1, options.days * 24 - hour); // the last hour may be cut short
      rates.push(tenant.size * rhythm(tenant, hour) * (event?.weight ?? 1) * seen);
    }
  }
  const drawCell = weightedIndex(rates, rng);
  const rows = tenants.map((tenant) => rowChooser(tenant, rng));
  const accesses: Access[] = [];
  for (let i = 0; i < options.events; i++) {
    const cell = drawCell();
    const tenant = Math.floor(cell / hours);
    const hour = cell % hours;
    const length = Math.min(1, options.days * 24 - hour) * hourSeconds;
    const row = rows[tenant]!(promoted[cell]!);
    accesses.push({
      key: `${tenants[tenant]!.name}:${row}`,
      op: rng() < 0.15 ? 'W' : 'R',
      at: traceStart + hour * hourSeconds + rng() * length,
    });
  }
  return { accesses: inOrder(accesses), calendar };
}

function makeTenants(keys: number, rng: Rng): Tenant[] {
  const count = Math.max(1, Math.min(200, Math.round(keys / 50)));
  const sizes = zipfWeights(count, 0.9);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let begun = 0;
  let sum = 0;
  return sizes.map((size, i) => {
    sum += size;
    // the running sum is rounded, so that the tenants' rows add up to the keys asked for
    const end = i === count - 1 ? keys : Math.max(begun + 1, Math.round((keys * sum) / total));
    const rows = Math.max(1, Math.min(end, keys - (count - 1 - i)) - begun);
    begun += rows;
    const kind = rng() < 0.65 ? 'office' : 'shop';
    return { name: `t${i + 1}`, size, zone: zones[i % zones.length]!, kind, rows };
  });
}

/** The share of its busiest hour that a tenant has in an hour since the trace's start. */
function rhythm({ zone, kind }: Tenant, hour: number): number {
  const local = hour + zone + 7 * 24; // the trace starts on a Monday; never negative
  const weekend = Math.floor(local / 24) % 7 >= 5;
  if (kind === 'office') return office[local % 24]! * (weekend ? 0.12 : 1);
  return shop[local % 24]! * (weekend ? 1.5 : 1);
}

/** Promotions of 6, 12, 24 or 48 hours, each tenant's about one a month, none overlapping another of its tenant. */
function makeCalendar(tenants: readonly Tenant[], days: number, rng: Rng): CalendarEntry[] {
  const calendar: CalendarEntry[] = [];
  for (let i = 0; i < Math.round((days * tenants.length) / 30); i++) {
    const { name, zone } = tenants[Math.floor(rng() * tenants.length)]!;
    const length = [6, 12, 24, 48][Math.floor(rng() * 4)]!;
    const day = Math.floor(rng() * days);
    const start = traceStart + day * daySeconds + (8 - zone) * hourSeconds;
    const entry = { start, end: start + length * hourSeconds, group: name, kind: 'promotion' };
    const weight = Math.round(4 + 6 * rng());
    const clash = calendar.some(
      ({ group, start, end }) => group === name && start < entry.end && entry.start < end,
    );
    const outside = entry.start < traceStart || entry.start >= traceStart + days * daySeconds;
    if (!clash && !outside) calendar.push({ ...entry, weight });
  }
  return calendar.sort((a, b) => a.start - b.start || Number(a.group.slice(1)) - Number(b.group.slice(1)));
}

/** Few rows of a tenant are used often, in an order of its own; a promotion is about another fifth of its rows. */
function rowChooser({ rows }: Tenant, rng: Rng): (promoted: boolean) => number {
  const order = shuffled(rows, rng);
  const draw = weightedIndex(zipfWeights(rows, 0.8), rng);
  const offered = Math.max(1, Math.floor(rows / 5));
  return (promoted) => {
    // the least used rows stand at the end of the order
    const rank = promoted && rng() < 0.8 ? rows - 1 - Math.floor(rng() * offered) : draw();
    return order[rank]! + 1;
  };
}
