import { hashUnit, type Rng } from '../core/rng.ts';
import { Visits } from './visits.ts';

export const statuses = ['open', 'paid', 'sent', 'returned'] as const;
export type OrderStatus = (typeof statuses)[number];

export const cities = ['Bergen', 'Gent', 'Graz', 'Kaunas', 'Lyon', 'Porto', 'Split', 'Turku'] as const;

/** How a statement reaches the server; real applications mix all three, and the log shows each in its own way. */
export type WireProtocol = 'simple' | 'extended' | 'named';

/** What the application is about to do. Values are absolute, so that what a row holds never depends on order. */
export type Operation =
  | { readonly kind: 'read'; readonly ids: readonly number[]; readonly protocol: WireProtocol }
  | {
      readonly kind: 'update';
      readonly id: number;
      readonly status?: OrderStatus;
      readonly cents?: number;
      readonly protocol: WireProtocol;
    }
  | {
      readonly kind: 'insert';
      readonly customer: number;
      readonly cents: number;
      readonly city: string;
      readonly items: number;
      readonly gift: boolean;
    }
  | { readonly kind: 'delete'; readonly id: number };

export interface WorkloadOptions {
  /** orders of each customer, oldest first; index 0 is customer 1. Taken over and changed */
  readonly orders: number[][];
  /** length of a "day", seconds */
  readonly day: number;
  readonly rng: Rng;
}

/** Shares of the statements; the rest are reads of a single order. */
const mix = { list: 0.3, update: 0.2, insert: 0.02, delete: 0.008 } as const;
/** Customers live in as many time zones: each group has its own busy hour. */
const groups = 6;
/** How peaked a day is: at night a group does e^(−2·3) of what it does at its busy hour. */
const peak = 3;
/** Exponent of the popularity of customers by their distance from the centre of heat. */
const skew = 1.1;
/** Share of all customers that the centre of heat moves past in a day. */
const drift = 0.004;
/** How many of the newest orders are looked at and changed all the time, on average: about six seconds' worth. */
const freshDepth = 80;
const freshShare = 0.15;
/** A customer's next older order is looked at so many times as often. */
const ageing = 0.9;
/** Somebody opens an old order for no reason that a log could tell. */
const strayShare = 0.02;
/** Customers who are looking at their orders at the same time, for how many seconds, and their share of the reads. */
const visits = { atOnce: 400, shortest: 15, longest: 45, share: 0.6 } as const;

/**
 * What the shop's customers and staff do next. Pure but for its own state: the same seed, orders and times give the
 * same operations. Heat lies on customers around a centre that drifts, each group of customers has its busy hour of
 * the day; who comes stays for a while and looks at the same orders again, the newest most; orders just placed are
 * followed closely for some seconds.
 */
export class Workload {
  private readonly orders: number[][];
  private readonly day: number;
  private readonly rng: Rng;
  /** cumulative popularity by distance from the centre */
  private readonly cumulative: Float64Array;
  /** place on the circle → customer: neighbours in heat are no neighbours in number */
  private readonly circle: Int32Array;
  private readonly fresh: number[] = [];
  private readonly removed = new Set<number>();
  private readonly visits: Visits;

  constructor(options: WorkloadOptions) {
    this.orders = options.orders;
    this.day = options.day;
    this.rng = options.rng;
    const customers = this.orders.length;
    const half = Math.max(1, Math.floor(customers / 2));
    this.cumulative = new Float64Array(half);
    for (let d = 0, sum = 0; d < half; d++) this.cumulative[d] = sum += (d + 1) ** -skew;
    this.circle = Int32Array.from({ length: customers }, (_, i) => i);
    for (let i = customers - 1; i > 0; i--) {
      const j = Math.floor(this.rng() * (i + 1));
      [this.circle[i], this.circle[j]] = [this.circle[j]!, this.circle[i]!];
    }
    this.visits = new Visits({
      ...visits,
      atOnce: Math.min(visits.atOnce, Math.ceil(customers / 10)),
      rng: this.rng,
      draw: (at) => this.customer(at),
    });
  }

  /** @param at seconds since the shop opened; never less than before */
  next(at: number): Operation {
    let draw = this.rng();
    if ((draw -= mix.insert) < 0) return this.insert(at);
    if ((draw -= mix.delete) < 0) return { kind: 'delete', id: this.oldOrder(at) };
    if ((draw -= mix.update) < 0) return this.update(at);
    if ((draw -= mix.list) < 0) return { kind: 'read', ids: this.page(at), protocol: this.protocol() };
    return { kind: 'read', ids: [this.order(at)], protocol: this.protocol() };
  }

  created(id: number, customer: number): void {
    this.orders[customer - 1]?.push(id);
    this.fresh.push(id);
    if (this.fresh.length > 8 * freshDepth) this.fresh.splice(0, 4 * freshDepth);
  }

  deleted(id: number, customer: number): void {
    this.removed.add(id);
    const list = this.orders[customer - 1] ?? [];
    const at = list.indexOf(id);
    if (at >= 0) list.splice(at, 1);
  }

  private insert(at: number): Operation {
    const { rng } = this;
    const cents = 100 + Math.floor(rng() ** 2 * 40_000);
    const city = cities[Math.floor(rng() * cities.length)]!;
    return {
      kind: 'insert',
      customer: this.customer(at),
      cents,
      city,
      items: 1 + Math.floor(rng() * 9),
      gift: rng() < 0.1,
    };
  }

  private update(at: number): Operation {
    const id = this.rng() < 0.3 ? (this.freshOrder() ?? this.order(at)) : this.order(at);
    const protocol = this.protocol();
    if (this.rng() < 0.25)
      return { kind: 'update', id, cents: 100 + Math.floor(this.rng() ** 2 * 40_000), protocol };
    const draw = this.rng();
    const status = draw < 0.4 ? 'paid' : draw < 0.8 ? 'sent' : draw < 0.95 ? 'open' : 'returned';
    return { kind: 'update', id, status, protocol };
  }

  /** One order that somebody looks at. */
  private order(at: number): number {
    const draw = this.rng();
    if (draw < freshShare) {
      const id = this.freshOrder();
      if (id !== undefined) return id;
    } else if (draw < freshShare + strayShare) {
      return this.strayOrder();
    }
    const list = this.orders[this.reader(at) - 1]!;
    const back = Math.floor(Math.log(1 - this.rng()) / Math.log(ageing));
    return list[Math.max(0, list.length - 1 - back)]!;
  }

  /** A page of a customer's history. */
  private page(at: number): number[] {
    const list = this.orders[this.reader(at) - 1]!;
    return list.slice(-(4 + Math.floor(this.rng() * 9)));
  }

  /** Whose orders are looked at: a visitor's, or a passing customer's. */
  private reader(at: number): number {
    const visitor = this.rng() < visits.share ? this.visits.visitor(at) : 0;
    return visitor > 0 && this.orders[visitor - 1]!.length > 0 ? visitor : this.customer(at);
  }

  private oldOrder(at: number): number {
    return this.orders[this.customer(at) - 1]![0]!;
  }

  private freshOrder(): number | undefined {
    const back = Math.floor(-Math.log(1 - this.rng()) * freshDepth);
    const id = this.fresh[this.fresh.length - 1 - back];
    return id === undefined || this.removed.has(id) ? undefined : id;
  }

  private strayOrder(): number {
    for (;;) {
      const list = this.orders[Math.floor(this.rng() * this.orders.length)]!;
      if (list.length > 0) return list[Math.floor(this.rng() * list.length)]!;
    }
  }

  /** A customer with at least one order, by popularity and time of day; numbers begin at 1. */
  private customer(at: number): number {
    const { circle, rng } = this;
    const customers = circle.length;
    const centre = Math.floor((at / this.day) * drift * customers);
    for (;;) {
      const distance = this.distance() * (rng() < 0.5 ? -1 : 1);
      const customer = circle[(((centre + distance) % customers) + customers) % customers]! + 1;
      const busy = (1 - Math.cos(2 * Math.PI * (at / this.day - groupOf(customer) / groups))) / 2;
      if (this.orders[customer - 1]!.length > 0 && rng() < Math.exp(-2 * peak * busy)) return customer;
    }
  }

  private distance(): number {
    const { cumulative } = this;
    const wanted = this.rng() * cumulative[cumulative.length - 1]!;
    let low = 0;
    let high = cumulative.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (cumulative[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private protocol(): WireProtocol {
    const draw = this.rng();
    return draw < 0.34 ? 'simple' : draw < 0.67 ? 'extended' : 'named';
  }
}

/** The group of a customer, 0 … 5. */
function groupOf(customer: number): number {
  return Math.floor(hashUnit(String(customer), 7) * groups);
}
