import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import type { Rng } from '../../../src/core/rng.ts';
import { keyText, type Shape } from './shapes.ts';

/** What a correct application meets anyway, and tries again. */
const retried = ['40001', '40P01', '23505', '55P03'];
/** What it meets beside that when it looks at the overlay of a migration that has just been aborted. */
const gone = '42P01';
const migrating = ['SHADOWING', 'READY', 'IN_PROGRESS'];

export interface WriterOptions {
  readonly id: number;
  readonly url: string;
  readonly shape: Shape;
  readonly rows: number;
  readonly rng: Rng;
  /** `calm`: fewer transactions from now on */
  readonly stop: { readonly now: boolean; readonly calm: boolean };
  /** share of the operations that swap unique values */
  readonly swaps: number;
  /** share of the operations that insert */
  readonly inserts: number;
  /** only READ COMMITTED, as the migration file declares */
  readonly readCommitted: boolean;
  readonly mayBeAborted: boolean;
  readonly onFault: (what: string) => void;
  /** looks at the overlay in the writer's own transaction */
  readonly look: (client: Client, where: string) => Promise<void>;
}

export interface WriterCounts {
  operations: number;
  commits: number;
  prepared: number;
  rolledBack: number;
  reconnects: number;
  truncatesRefused: number;
  slowestMs: number;
}

/** An application session that writes the table and, in the same transaction, its own books of what it wrote. */
export class Writer {
  readonly #o: WriterOptions;
  readonly #counts: WriterCounts;
  readonly #isolation: string;
  #client: Client | null = null;

  constructor(options: WriterOptions, counts: WriterCounts) {
    this.#o = options;
    this.#counts = counts;
    const levels = ['read committed', 'repeatable read', 'serializable'];
    this.#isolation = options.readCommitted ? 'read committed' : (levels[options.id % 3] as string);
  }

  async run(): Promise<void> {
    const { stop, rng } = this.#o;
    while (!stop.now) {
      const began = performance.now();
      try {
        this.#client ??= await this.#connect();
        if (rng() < 0.015) await this.#truncate(this.#client);
        else await this.#transaction(this.#client);
      } catch (error) {
        await this.#met(error as Error & { code?: string });
      }
      this.#counts.slowestMs = Math.max(this.#counts.slowestMs, performance.now() - began);
      await sleep(this.#below(stop.calm ? 400 : 40));
    }
    await this.#client?.end().catch(() => {});
  }

  #below(n: number): number {
    return Math.floor(this.#o.rng() * n);
  }

  async #connect(): Promise<Client> {
    const { id, url } = this.#o;
    const client = new Client({ connectionString: url, application_name: `writer ${id}` });
    client.on('error', () => {});
    await client.connect();
    await client.query(
      `set statement_timeout = '8s'${id === 4 ? '; set session_replication_role = replica' : ''}`,
    );
    // What it prepared before its connection was lost is still there, with its locks.
    const { rows } = await client.query<{ gid: string }>(
      'select gid from pg_prepared_xacts where starts_with(gid, $1) and database = current_database()',
      [`writer ${id} `],
    );
    for (const { gid } of rows) await client.query(`commit prepared '${gid}'`);
    return client;
  }

  async #met(error: Error & { code?: string }): Promise<void> {
    const { code = '' } = error;
    const client = this.#client;
    if (retried.includes(code) || (code === gone && this.#o.mayBeAborted)) {
      await client?.query('rollback').catch(() => this.#forget());
      return;
    }
    await this.#forget();
    const lost = !code || code.startsWith('08') || code.startsWith('57P') || code.startsWith('E');
    if (lost) {
      this.#counts.reconnects += 1;
      await sleep(50);
      return;
    }
    const what = code === '57014' ? 'was held for 8 s' : `met ${code} ${error.message}`;
    this.#o.onFault(`writer ${this.#o.id} ${what}`);
  }

  async #forget(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => {});
  }

  async #transaction(client: Client): Promise<void> {
    const counts = this.#counts;
    const once = (n: number) => this.#below(n) === 0;
    await client.query(`begin isolation level ${this.#isolation}`);
    const most = this.#o.swaps > 0.5 ? 1 : this.#o.stop.calm ? 2 : 4;
    for (let left = 1 + this.#below(most); left > 0; left--) {
      const guarded = once(5);
      if (guarded) await client.query('savepoint here');
      await this.#operation(client);
      if (guarded && once(2)) await client.query('rollback to savepoint here');
      counts.operations += 1;
    }
    if (once(6)) await sleep(this.#below(40)); // changes that commit late
    if (once(40)) await this.#o.look(client, `inside writer ${this.#o.id}`);
    if (once(12)) {
      const gid = `writer ${this.#o.id} ${counts.operations} ${this.#below(1e9)}`;
      await client.query(`prepare transaction '${gid}'`);
      await sleep(this.#below(20));
      await client.query(`${once(4) ? 'rollback' : 'commit'} prepared '${gid}'`);
      counts.prepared += 1;
    } else if (once(8)) {
      await client.query('rollback');
      counts.rolledBack += 1;
    } else {
      await client.query('commit');
      counts.commits += 1;
    }
  }

  /** Refused while a migration runs; at any other time it is taken back. */
  async #truncate(client: Client): Promise<void> {
    await client.query(`begin; set local lock_timeout = '30ms'`);
    try {
      await client.query('truncate s');
      const { rows } = await client.query('select status from foreshadow.migration_status');
      if (migrating.includes(rows[0]?.status))
        this.#o.onFault(`truncate went through while ${rows[0].status}`);
    } catch (error) {
      if ((error as { code?: string }).code !== '55000') throw error;
      this.#counts.truncatesRefused += 1;
    }
    await client.query('rollback');
  }

  /** A random key, now and then one of a few that everybody wants. */
  #key(): string[] {
    const { shape, rows, rng } = this.#o;
    return shape.keyTexts(1 + this.#below(rng() < 0.15 ? 60 : Math.ceil(rows * 1.2)), rng);
  }

  async #operation(client: Client): Promise<void> {
    const { shape, swaps, inserts, rng } = this.#o;
    const write = statements(client, shape);
    const kind = rng();
    if (kind < swaps && shape.unique) return this.#swap(write);
    if (kind < swaps + inserts) return write.insert(this.#key(), shape.unique ? this.#fresh() : null);
    switch (this.#below(12)) {
      case 0:
        return write.update('v = v + 1', this.#key());
      case 1:
        return write.update('w = null', this.#key());
      case 2:
        return write.update(`w = 'w${this.#below(1000)}', tags = array_append(tags, 'more')`, this.#key());
      case 3:
        return write.update(`mood = '${['calm', 'sad', 'glad'][this.#below(3)]}', doc = null`, this.#key());
      case 4:
        return write.update(
          `amount = ${this.#below(9999) / 8}, at = '2025-03-30 01:30:00.5+00'`,
          this.#key(),
        );
      case 5:
        return write.update(
          `blob = convert_to(repeat(md5('${this.#below(1e6)}'), 300), 'UTF8'), doc = '{"city": "B", "n": 1.50}'`,
          this.#key(),
        );
      case 6:
        return write.some('v = v + 1', 12);
      case 7:
        return write.delete(this.#key());
      case 8: {
        const key = this.#key();
        await write.delete(key);
        return write.insert(key, null);
      }
      case 9:
        return write.upsert(this.#key());
      case 10:
        return this.#move(write);
      default: {
        // Such a statement holds the gentle cutover back: often only where the brief stop may come.
        if (!this.#o.readCommitted && this.#below(10)) return write.update('v = v - 1', this.#key());
        const key = this.#key();
        await client.query(`select 1 from s where ${write.at(1)} for update`, key);
        return write.update('v = v + 1', key);
      }
    }
  }

  /** To another key, or (sometimes) to another image of the same. */
  #move(write: Statements): Promise<void> {
    const { shape, rows, rng } = this.#o;
    if (rng() < 0.6) return write.move(this.#key(), this.#key());
    const n = 1 + this.#below(rows);
    return write.move(shape.keyTexts(n, rng), shape.keyTexts(n, rng));
  }

  #fresh(): string {
    return `new ${this.#o.id} ${this.#counts.operations} ${this.#below(1e9)}`;
  }

  /** Two rows exchange their unique value. In the order of their numbers, so that swaps wait for each other in a row. */
  async #swap(write: Statements): Promise<void> {
    const { shape, swaps, rng } = this.#o;
    const pick = () => 1 + this.#below(swaps > 0.5 ? 12 : 40);
    const [low, high] = [pick(), pick()].sort((a, b) => a - b) as [number, number];
    if (low === high) return;
    const [one, other] = [shape.keyTexts(low, rng), shape.keyTexts(high, rng)];
    const [first, second] = [await write.read(one), await write.read(other)];
    if (first === undefined || second === undefined) return;
    await write.setUnique(one, null);
    await write.setUnique(other, first);
    await write.setUnique(one, second);
  }
}

type Statements = ReturnType<typeof statements>;

/** Statements that write a row and its entry in the books together. The same before and after the swap. */
export function statements(client: Client, shape: Shape) {
  const at = (first: number) => shape.key.map((name, i) => `${name} = $${first + i}`).join(' and ');
  const columns = shape.key.join(', ');
  const places = shape.key.map((_, i) => `$${i + 1}`).join(', ');
  const width = shape.key.length;
  const now = `${keyText(shape)} as kt, s.tableoid as t, s::text as row`;
  const book = async (sql: string, values: unknown[] = []) => void (await client.query(sql, values));
  const booked = (statement: string) =>
    `with c as (${statement} returning ${now})
     insert into ledger (kt, gone, t, row) select kt, false, t, row from c`;
  const update = (set: string, where: string, values: unknown[]) =>
    book(booked(`update s set ${set} where ${where}`), values);
  return {
    at,
    update: (set: string, key: string[]) => update(set, at(1), key),
    some: (set: string, rows: number) => update(set, `ctid in (select ctid from s limit ${rows})`, []),
    every: (set: string) => update(set, 'true', []),
    setUnique: (key: string[], u: string | null) => update(`u = $${width + 1}`, at(1), [...key, u]),
    delete: (key: string[]) =>
      book(
        `with c as (delete from s where ${at(1)} returning ${now})
         insert into ledger (kt, gone, t, row) select kt, true, t, null from c`,
        key,
      ),
    insert: (key: string[], u: string | null) =>
      book(
        booked(
          `insert into s (${columns}, v, w, u, tags) values (${places}, 1, 'new', $${width + 1}, '{}') on conflict do nothing`,
        ),
        [...key, u],
      ),
    upsert: (key: string[]) =>
      book(
        booked(
          `insert into s (${columns}, v, w) values (${places}, 7, 'upsert')
           on conflict (${columns}) do update set v = s.v + 100, w = excluded.w`,
        ),
        key,
      ),
    /** another key, or another image of the same */
    move: (from: string[], to: string[]) =>
      book(
        `with c as (update s set (${columns}) = row(${shape.key.map((_, i) => `$${width + i + 1}`).join(', ')})
                     where ${at(1)} returning ${keyText(shape, 'old')} as was, ${now})
         insert into ledger (kt, gone, t, row)
         select was, true, t, null from c where was <> kt union all select kt, false, t, row from c order by 2 desc`,
        [...from, ...to],
      ),
    read: async (key: string[]): Promise<string | null | undefined> =>
      (await client.query<{ u: string | null }>(`select u from s where ${at(1)}`, key)).rows[0]?.u,
  };
}
