import { type OrderStatus, statuses } from './workload.ts';

/** What the application knows an order to hold, in the old format's units. */
export interface Order {
  readonly status: OrderStatus;
  readonly cents: number;
}

/** Values that a statement sets; null: it deletes the row. */
export type Change = Partial<Order> | null;

const absent = -1;

/**
 * What the application believes each row to hold: what it read at the start, and what it was told is committed. It lets
 * at most one write of a row be under way, so belief is exact; a write whose answer was lost makes the row doubtful.
 */
export class Ledger {
  /** index into `statuses`, by id */
  private status = new Int8Array(1024).fill(absent);
  private cents = new Int32Array(1024);
  private owner = new Int32Array(1024);
  /** moves with every write, when it begins and when it ends: a read in between can tell nothing */
  private moves = new Uint32Array(1024);
  private readonly busy = new Set<number>();
  private readonly doubted = new Set<number>();
  private readonly changed = new Set<number>();
  /** highest id known */
  highest = 0;
  /** rows believed to be there, doubtful ones counted as they were */
  rows = 0;
  /** inserts whose answer was lost: as many rows may exist that nobody can name */
  doubtfulInserts = 0;

  /** A row as found when the application started, or the answer to an insert. */
  put(id: number, customer: number, order: Order): void {
    if (id >= this.status.length) this.grow(id);
    this.status[id] = statuses.indexOf(order.status);
    this.cents[id] = order.cents;
    this.owner[id] = customer;
    this.moves[id]!++;
    this.highest = Math.max(this.highest, id);
    this.rows++;
  }

  /** Marks a row as written by this application. */
  inserted(id: number, customer: number, order: Order): void {
    this.put(id, customer, order);
    this.changed.add(id);
  }

  /** @returns false when another write of the row is under way, or the row is not there or doubtful */
  begin(id: number): boolean {
    if (this.busy.has(id) || this.doubted.has(id) || this.order(id) === null) return false;
    this.busy.add(id);
    this.moves[id]!++;
    return true;
  }

  /** The write is known to be committed. */
  commit(id: number, change: Change): void {
    this.end(id);
    this.changed.add(id);
    if (change === null) {
      this.status[id] = absent;
      this.rows--;
      return;
    }
    if (change.status !== undefined) this.status[id] = statuses.indexOf(change.status);
    if (change.cents !== undefined) this.cents[id] = change.cents;
  }

  /** The write is known not to have happened. */
  abandon(id: number): void {
    this.end(id);
  }

  /** The answer was lost. */
  doubt(id: number): void {
    this.end(id);
    this.doubted.add(id);
  }

  customer(id: number): number {
    return this.owner[id] ?? 0;
  }

  /** What the row should hold; null: it should not be there. Ask {@link isDoubtful} too. */
  order(id: number): Order | null {
    const status = this.status[id] ?? absent;
    return status === absent ? null : { status: statuses[status]!, cents: this.cents[id]! };
  }

  isDoubtful(id: number): boolean {
    return this.doubted.has(id);
  }

  /** Compare before and after a read: equal, and not busy after it, means that no write of the row was under way. */
  movesOf(id: number): number {
    return this.busy.has(id) ? Number.NaN : (this.moves[id] ?? 0);
  }

  /** rows that this application has written */
  get written(): number {
    return this.changed.size;
  }

  get doubtful(): number {
    return this.doubted.size;
  }

  private end(id: number): void {
    this.busy.delete(id);
    this.moves[id]!++;
  }

  private grow(id: number): void {
    const length = Math.max(id + 1, this.status.length * 2);
    const copy = <T extends Int8Array | Int32Array | Uint32Array>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.status = copy(new Int8Array(length).fill(absent), this.status);
    this.cents = copy(new Int32Array(length), this.cents);
    this.owner = copy(new Int32Array(length), this.owner);
    this.moves = copy(new Uint32Array(length), this.moves);
  }
}

export interface Audit {
  /** rows of the table, and rows believed in, that were held against each other */
  compared: number;
  /** believed in, but not in the table */
  missing: number;
  /** in the table, but not believed in */
  extra: number;
  /** with another status or amount than believed */
  different: number;
  /** left out, because the answer to a write was lost */
  doubtful: number;
  /** rows that the application has written itself; all rows are compared, these are where loss would show */
  written: number;
  /** the first few keys that are missing, extra or different */
  keys: number[];
}

/** Holds a table's rows, each id once, against the ledger. */
export function auditRows(ledger: Ledger, rows: Iterable<{ id: number } & Order>): Audit {
  const audit: Audit = {
    compared: 0,
    missing: 0,
    extra: 0,
    different: 0,
    doubtful: ledger.doubtful,
    written: ledger.written,
    keys: [],
  };
  const found = new Set<number>();
  const fault = (kind: 'missing' | 'extra' | 'different', id: number) => {
    audit[kind]++;
    if (audit.keys.length < 10) audit.keys.push(id);
  };
  for (const row of rows) {
    found.add(row.id);
    if (ledger.isDoubtful(row.id)) continue;
    audit.compared++;
    const believed = ledger.order(row.id);
    if (believed === null) fault('extra', row.id);
    else if (believed.status !== row.status || believed.cents !== row.cents) fault('different', row.id);
  }
  for (let id = 1; id <= ledger.highest; id++) {
    if (found.has(id) || ledger.isDoubtful(id) || ledger.order(id) === null) continue;
    audit.compared++;
    fault('missing', id);
  }
  // as many rows as inserts without an answer may be there by right
  audit.extra = Math.max(0, audit.extra - ledger.doubtfulInserts);
  return audit;
}
