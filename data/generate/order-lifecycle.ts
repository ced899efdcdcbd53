import type { Access, AccessOp } from '../../src/core/access.ts';
import { type Rng, seededRng } from '../../src/core/rng.ts';
import {
  checkOptions,
  daySeconds,
  exponential,
  hourSeconds,
  inOrder,
  type Trace,
  type TraceOptions,
  traceStart,
  weightedIndex,
} from './trace.ts';

/** Ages, in seconds, at which an order's status changes on average: paid, packed, shipped, delivered. */
const stations = [600, 6 * hourSeconds, daySeconds, 3 * daySeconds];
/** How long before the trace the oldest order was placed. */
const daysBefore = 60;
/** How many of a customer's former orders are looked at when the customer returns. */
const lookedBack = 3;
/** Share of a day's orders placed in each hour, UTC, up to a factor. */
const ordersByHour = [2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 9, 9, 10, 9, 8, 8, 9, 10, 12, 14, 15, 12, 8, 4];

interface Order {
  readonly key: string;
  /** seconds since the epoch */
  readonly placed: number;
  /** former orders of the same customer, latest first */
  readonly former: readonly string[];
}

/**
 * A table of orders: each is inserted, read and changed often in its first hours and days, and hardly afterwards. A
 * customer who orders again looks at former orders; a few customers return often. Some orders are older than the trace.
 * Keys are `customer:order`.
 *
 * Every order inserted costs one access, so with few events for many keys there are more than asked for.
 * @throws RangeError for options that are out of range
 */
export function orderLifecycle(options: TraceOptions): Trace {
  checkOptions(options);
  const rng = seededRng(options.seed);
  const end = traceStart + options.days * daySeconds;
  const orders = placeOrders(options, rng);
  const accesses: Access[] = [];
  const add = (key: string, op: AccessOp, at: number) => {
    if (at >= traceStart && at < end) accesses.push({ key, op, at });
  };
  for (const { key, placed, former } of orders) {
    add(key, 'W', placed);
    for (const station of stations) add(key, 'W', placed + station * (0.5 + rng()));
    former.forEach((other, i) => {
      if (rng() < 0.6) add(other, 'R', placed - 60 * (i + 1) * (1 + rng()));
    });
  }
  const reads = options.events - accesses.length;
  // reads are drawn until there are enough: an order that was placed late has less of its life in the trace
  for (let done = 0; done < reads; ) {
    const { key, placed } = orders[Math.floor(rng() * orders.length)]!;
    const at = placed + readAge(rng);
    if (at < traceStart || at >= end) continue;
    add(key, 'R', at);
    done++;
  }
  return { accesses: inOrder(accesses) };
}

/** Seconds from an order's insertion to a read of it: hours, days, and now and then months. */
function readAge(rng: Rng): number {
  const kind = rng();
  if (kind < 0.6) return exponential(3 * hourSeconds, rng);
  if (kind < 0.92) return exponential(2 * daySeconds, rng);
  return rng() * daysBefore * daySeconds;
}

/** Oldest first, numbered in that order. */
function placeOrders({ keys, days }: TraceOptions, rng: Rng): Order[] {
  const first = traceStart - daysBefore * daySeconds;
  const drawHour = weightedIndex(ordersByHour, rng);
  const placed = Float64Array.from({ length: keys }, () => {
    // orders of the trace's own days are as frequent as those before it, at least a third of all
    const before = rng() < Math.min(2 / 3, daysBefore / (daysBefore + days));
    const day = Math.floor(rng() * (before ? daysBefore : Math.max(1, days)));
    const within = (drawHour() + rng()) * hourSeconds;
    return (
      (before ? first : traceStart) +
      Math.min(day * daySeconds + within, (before ? daysBefore : days) * daySeconds - 1)
    );
  }).sort();
  const customers = Math.max(1, Math.round(keys / 4));
  // log-normal: most customers order once or twice, a few every other day
  const activity = Array.from({ length: customers }, () => Math.exp(1.2 * normal(rng)));
  const drawCustomer = weightedIndex(activity, rng);
  const history = new Map<number, string[]>();
  return Array.from(placed, (at, i) => {
    const customer = drawCustomer();
    const key = `c${customer + 1}:${i + 1}`;
    const own = history.get(customer) ?? [];
    history.set(customer, [...own.slice(-(lookedBack - 1)), key]);
    return { key, placed: at, former: own.toReversed() };
  });
}

/** Standard normal (Box and Muller). */
function normal(rng: Rng): number {
  return Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());
}
