import { createWriteStream, type WriteStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Rng } from '../core/rng.ts';
import { type Audit, auditRows, type Change, Ledger, type Order } from './ledger.ts';
import type { ApplicationSummary, Tally } from './messages.ts';
import { formatRecord, type Outcome, type Served } from './record.ts';
import { Routing } from './route.ts';
import { asksForRetry, leavesDoubt, Session, stateOf } from './session.ts';
import { pageOfTable, readOrder, sourceTable, statementFor, type Table } from './statements.ts';
import { type Operation, Workload } from './workload.ts';

export interface ShopOptions {
  readonly url: string;
  readonly migration: string;
  readonly record: string;
  /** statements a second */
  readonly rate: number;
  readonly day: number;
  readonly rng: Rng;
}

const readers = 4;
const writers = 3;
/** A cutover takes milliseconds; a server that asks for this many retries in a row is a failure. */
const mostRetries = 50;

interface Job {
  readonly operation: Operation;
  /** when it should begin, milliseconds since the epoch */
  readonly due: number;
}

interface Done {
  readonly outcome: Outcome;
  readonly served: Served;
  readonly retries: number;
  readonly ids: readonly number[];
}

/**
 * The shop at work: an open loop, in which operations fall due at random times whether or not earlier ones have been
 * answered, so that waiting shows in the latencies. A few connections for readers and for writers take them in turn.
 */
export class Shop {
  private readonly options: ShopOptions;
  private readonly ledger = new Ledger();
  private readonly routing: Routing;
  private readonly sessions: Session[] = [];
  private readonly idle = { read: [] as Session[], write: [] as Session[] };
  private readonly queue = { read: [] as Job[], write: [] as Job[] };
  private readonly errorTexts = new Map<string, number>();
  private readonly record: WriteStream;
  private workload: Workload | null = null;
  private timer: NodeJS.Timeout | undefined;
  private opened = 0;
  private nextDue = 0;
  private running = 0;
  private compared = 0;
  private counts = { reads: 0, writes: 0, retries: 0, errors: 0, stale: 0 };

  constructor(options: ShopOptions) {
    this.options = options;
    this.routing = new Routing(options.url, options.migration);
    this.record = createWriteStream(options.record, { highWaterMark: 1 << 16 });
  }

  /** Connects, learns what is there, and begins. */
  async open(): Promise<void> {
    const { url, day, rng } = this.options;
    await this.routing.start();
    for (const [kind, many] of [
      ['read', readers],
      ['write', writers],
    ] as const) {
      for (let i = 0; i < many; i++) {
        const session = new Session(url, `demo shop ${kind} ${i + 1}`);
        await session.open();
        this.sessions.push(session);
        this.idle[kind].push(session);
      }
    }
    const orders: number[][] = [];
    for await (const { id, customer, order } of this.everyRow(sourceTable)) {
      this.ledger.put(id, customer, order);
      while (orders.length < customer) orders.push([]);
      orders[customer - 1]!.push(id);
    }
    this.workload = new Workload({ orders, day, rng });
    this.opened = this.nextDue = Date.now();
    this.pump();
  }

  tally(): Tally {
    return { ...this.counts, waiting: this.queue.read.length + this.queue.write.length };
  }

  /** Stops taking orders, finishes what has begun, and holds the table that is written to now against its own books. */
  async close(): Promise<ApplicationSummary> {
    clearTimeout(this.timer);
    const until = Date.now() + 15_000;
    while ((this.running > 0 || this.queue.read.length + this.queue.write.length > 0) && Date.now() < until)
      await sleep(5);
    const seconds = (Date.now() - this.opened) / 1000;
    const cpu = process.cpuUsage();
    const audit = await this.audit();
    await new Promise<void>((resolve) => this.record.end(resolve));
    await Promise.all([...this.sessions, this.routing].map((each) => each.close()));
    return {
      ...this.tally(),
      errorTexts: Object.fromEntries(this.errorTexts),
      compared: this.compared,
      seconds,
      cpu: (cpu.user + cpu.system) / 1e6 / seconds,
      routed: this.routing.asked,
      audit,
    };
  }

  /** Lets fall due what is due by now, and comes back for the next. */
  private pump(): void {
    const now = Date.now();
    while (this.nextDue <= now) {
      this.enter(this.nextDue);
      this.nextDue += (-Math.log(1 - this.options.rng()) * 1000) / this.options.rate;
    }
    this.timer = setTimeout(() => this.pump(), Math.max(1, this.nextDue - Date.now()));
  }

  private enter(due: number): void {
    const workload = this.workload!;
    let operation = workload.next((due - this.opened) / 1000);
    // somebody is writing that row: a customer waits for no lock that another customer cannot see
    while (!this.mayBegin(operation)) operation = workload.next((due - this.opened) / 1000);
    if (operation.kind === 'delete') workload.deleted(operation.id, this.ledger.customer(operation.id));
    const kind = operation.kind === 'read' ? 'read' : 'write';
    this.queue[kind].push({ operation, due });
    const session = this.idle[kind].pop();
    if (session) void this.work(kind, session);
  }

  private mayBegin(operation: Operation): boolean {
    return operation.kind === 'read' || operation.kind === 'insert' || this.ledger.begin(operation.id);
  }

  private async work(kind: 'read' | 'write', session: Session): Promise<void> {
    this.running++;
    for (let job = this.queue[kind].shift(); job; job = this.queue[kind].shift()) {
      const done =
        kind === 'read' ? await this.read(session, job.operation) : await this.write(session, job.operation);
      const ms = Date.now() - job.due;
      this.counts[kind === 'read' ? 'reads' : 'writes']++;
      this.counts.retries += done.retries;
      this.record.write(formatRecord({ at: job.due / 1000, kind: job.operation.kind, ms, ...done }));
    }
    this.running--;
    this.idle[kind].push(session);
  }

  private async read(session: Session, operation: Operation): Promise<Done> {
    const ids = operation.kind === 'read' ? operation.ids : [];
    for (let retries = 0; ; retries++) {
      const { read, readServed: served } = this.routing.current;
      const before = ids.map((id) => this.ledger.movesOf(id));
      try {
        const { rows } = await session.query(statementFor(operation, read));
        const stale = this.compare(ids, before, rows, read);
        return { outcome: stale ? 'stale' : 'ok', served, retries, ids };
      } catch (error) {
        if (asksForRetry(error) && retries < mostRetries) await this.askAgain(retries);
        else return { outcome: this.fault('read', error), served, retries, ids };
      }
    }
  }

  /** @returns whether some row that nobody was writing differs from what is known to be committed */
  private compare(
    ids: readonly number[],
    before: readonly number[],
    rows: readonly Record<string, unknown>[],
    table: Table,
  ): boolean {
    const found = new Map(rows.map((row) => readOrder(row, table.format)).map((order) => [order.id, order]));
    let stale = false;
    for (const [i, id] of ids.entries()) {
      if (before[i] !== this.ledger.movesOf(id) || this.ledger.isDoubtful(id)) continue;
      this.compared++;
      const believed = this.ledger.order(id);
      const order = found.get(id);
      if (believed?.status !== order?.status || believed?.cents !== order?.cents) stale = true;
    }
    if (stale) this.counts.stale++;
    return stale;
  }

  private async write(session: Session, operation: Operation): Promise<Done> {
    for (let retries = 0; ; retries++) {
      const { write, writeServed: served } = this.routing.current;
      try {
        const { rows, rowCount } = await session.query(statementFor(operation, write));
        const id = operation.kind === 'insert' ? Number(rows[0]?.id) : idOf(operation);
        if (rowCount !== 1)
          throw new Error(`${operation.kind} of a row that should be there changed ${rowCount} rows`);
        this.commit(operation, id);
        return { outcome: 'ok', served, retries, ids: [id] };
      } catch (error) {
        if (asksForRetry(error) && retries < mostRetries) {
          await this.askAgain(retries);
          continue;
        }
        const outcome = this.fault(operation.kind, error);
        if (operation.kind === 'insert') {
          if (outcome === 'unknown') this.ledger.doubtfulInserts++;
        } else if (outcome === 'unknown') this.ledger.doubt(idOf(operation));
        else this.ledger.abandon(idOf(operation));
        return { outcome, served, retries, ids: operation.kind === 'insert' ? [] : [idOf(operation)] };
      }
    }
  }

  private commit(operation: Operation, id: number): void {
    if (operation.kind === 'insert') {
      this.ledger.inserted(id, operation.customer, { status: 'open', cents: operation.cents });
      this.workload?.created(id, operation.customer);
    } else this.ledger.commit(id, changeOf(operation));
  }

  /** The table may have moved: ask where to, and give whoever is moving it a moment. */
  private async askAgain(retries: number): Promise<void> {
    await this.routing.refresh();
    if (retries > 0) await sleep(Math.min(50, 2 * retries));
  }

  private fault(kind: string, error: unknown): Outcome {
    const text = `${kind} ${stateOf(error) || '-----'} ${(error as Error).message}`;
    this.errorTexts.set(text, (this.errorTexts.get(text) ?? 0) + 1);
    this.counts.errors++;
    return leavesDoubt(error) && !/should be there/.test(text) ? 'unknown' : 'error';
  }

  private async audit(): Promise<Audit> {
    await this.routing.refresh();
    const rows: ({ id: number } & Order)[] = [];
    for await (const { id, order } of this.everyRow(this.routing.current.write)) rows.push({ id, ...order });
    return auditRows(this.ledger, rows);
  }

  private async *everyRow(table: Table): AsyncGenerator<{ id: number; customer: number; order: Order }> {
    const session = this.sessions[0]!;
    for (let above = 0; ; ) {
      const { rows } = await session.query(pageOfTable(table, above, 20_000));
      for (const row of rows) {
        const { id, ...order } = readOrder(row, table.format);
        above = id;
        yield { id, customer: Number(row.customer_id), order };
      }
      if (rows.length < 20_000) return;
    }
  }
}

function changeOf(operation: Operation): Change {
  if (operation.kind !== 'update') return null;
  const { status, cents } = operation;
  return { ...(status === undefined ? {} : { status }), ...(cents === undefined ? {} : { cents }) };
}

function idOf(operation: Operation): number {
  if (operation.kind !== 'update' && operation.kind !== 'delete') throw new TypeError('has no single row');
  return operation.id;
}
