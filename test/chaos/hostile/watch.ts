import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { count, type Differences, differences } from './compare.ts';
import { backSql, expectedSql, heldSql, type Shape, valuesSql } from './shapes.ts';

const keptInStep = `select 1 from foreshadow.lane where direction = 'back' and mode <> 'STOPPED'`;

/** Looks at the overlay, which must equal f(S) in every snapshot, and at what old snapshots find after the swap. */
export class Watch {
  readonly #shape: Shape;
  readonly #onFault: (what: string) => void;
  #gate: string | null = null;
  #over = false;
  /** the key log of the way back, its keys as texts */
  #keysBehind: string | null = null;
  snapshots = 0;
  straddled = 0;

  constructor(shape: Shape, onFault: (what: string) => void) {
    this.#shape = shape;
    this.#onFault = onFault;
  }

  /**
   * Views bind S and T by OID, so the swap's renames cannot mix them up; in our schema, or the swap would take them along.
   * Once the migration has begun.
   */
  async prepare(client: Client): Promise<void> {
    if (this.#gate || this.#over) return;
    const { rows } = await client.query<{ id: number }>('select id from foreshadow.migration_status');
    await client.query(
      `set lock_timeout = '2s';
       create or replace view foreshadow.mapped_source as ${expectedSql(this.#shape, 's')};
       create or replace view foreshadow.new_table as ${heldSql(this.#shape, 'foreshadow.t s')};
       create or replace view foreshadow.old_table as ${valuesSql(this.#shape, 's')};
       create or replace view foreshadow.restored as ${backSql(this.#shape, 'foreshadow.t t', 'values')}`,
    );
    this.#gate = `select 1 from foreshadow.overlay_gate_${rows[0]?.id}`;
    this.#keysBehind = `select ${this.#shape.key.map((_, i) => `k${i + 1}::text`).join(` || '|' || `)} from foreshadow.key_log_${rows[0]?.id}_back`;
  }

  /** T, S and the overlay go their own ways from here on, and nothing of ours depends on them. */
  async over(client: Client): Promise<void> {
    this.#gate = null;
    this.#over = true;
    await client.query(
      'drop view if exists foreshadow.mapped_source, foreshadow.new_table, foreshadow.old_table, foreshadow.restored',
    );
  }

  /** After the write cutover, one snapshot: the old table is what the new one makes of it, but for keys in the log. */
  async compareBack(client: Client, where: string): Promise<void> {
    if (!this.#gate) return;
    // not before the write cutover, when its key log may not even be there
    if (!(await client.query(keptInStep)).rows.length) return;
    const clean = (view: string) =>
      `select * from foreshadow.${view} where key not in (${this.#keysBehind}) and exists (${keptInStep})`;
    const found = await differences(client, clean('old_table'), clean('restored'));
    this.snapshots += 1;
    if (count(found)) this.#onFault(`the old table, ${where}: ${JSON.stringify(found)}`);
  }

  /** One snapshot: before the swap the overlay is f(S), after it the new table. */
  async compare(client: Client, where: string): Promise<void> {
    if (!this.#gate) return;
    const closed = `exists (${this.#gate})`;
    const right = `select * from foreshadow.mapped_source where not ${closed} union all select * from foreshadow.new_table where ${closed}`;
    const found = await differences(client, heldSql(this.#shape, 't s'), right);
    this.snapshots += 1;
    if (count(found)) this.#onFault(`overlay, ${where}: ${JSON.stringify(found)}`);
  }

  async reader(connect: () => Promise<Client>, stop: { readonly now: boolean }): Promise<void> {
    let client: Client | null = null;
    for (let i = 0; !stop.now; i++) {
      try {
        client ??= await connect();
        const isolation = ['read committed', 'repeatable read'][i % 2] as string;
        await client.query(`begin isolation level ${isolation}; select * from nothing`);
        await sleep(i % 3 ? 0 : 20); // a snapshot that is taken now and used later
        await this.compare(client, isolation);
        if (i % 4 < 2) await this.compareBack(client, isolation);
        await client.query('commit');
      } catch {
        await client?.end().catch(() => {}); // restarted, or aborted: the overlay is gone then
        client = null;
      }
      await sleep(250);
    }
    await client?.end().catch(() => {});
  }

  /**
   * Takes a snapshot between the drain and the swap, and reads the new table by it after the swap: T must be complete for
   * it already. Holds the swap's last lock up for a moment to get in between.
   * @param most attempts: where READ COMMITTED was promised, the swap waits for as long as somebody does this
   */
  straddle(
    connect: () => Promise<Client>,
    stop: { readonly now: boolean },
    most = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    return this.#straddle(connect, stop, most, this.#gate ?? '', async (old) =>
      differences(old, heldSql(this.#shape, 's'), 'select * from foreshadow.mapped_source'),
    );
  }

  /** The same for the way back: the old table must be complete for a snapshot from between drain and rollback. */
  straddleBack(connect: () => Promise<Client>, stop: { readonly now: boolean }): Promise<void> {
    const over = `select 1 from foreshadow.migration_status where status = 'ROLLED_BACK'`;
    return this.#straddle(connect, stop, Number.POSITIVE_INFINITY, over, async (old) =>
      differences(old, valuesSql(this.#shape, 's'), 'select * from foreshadow.restored'),
    );
  }

  async #straddle(
    connect: () => Promise<Client>,
    stop: { readonly now: boolean },
    most: number,
    over: string,
    compare: (old: Client) => Promise<Differences>,
  ): Promise<void> {
    const [holder, old, looker] = await Promise.all([connect(), connect(), connect()]);
    const clients = [holder, old, looker];
    const swapWaits = async () =>
      (
        await looker.query(
          `select 1 from pg_locks where relation = 'public.t'::regclass and mode = 'AccessExclusiveLock' and not granted`,
        )
      ).rowCount === 1;
    const closed = async () => (await looker.query(over)).rowCount === 1;
    const before = this.straddled;
    try {
      for (let tried = 0; tried < most && !stop.now && this.straddled === before; tried++) {
        await holder.query('begin; select 1 from public.t limit 1');
        while (!stop.now && !(await swapWaits()) && !(await closed())) await sleep(5);
        await old.query('begin isolation level repeatable read; select * from nothing');
        await holder.query('commit');
        await sleep(40);
        const [swapped, seen] = [await closed(), (await old.query(over)).rowCount === 1];
        if (swapped && !seen) {
          const found = await compare(old);
          if (count(found))
            this.#onFault(
              `the table that took the place, by a snapshot from before the swap: ${JSON.stringify(found)}`,
            );
          this.straddled += 1;
        }
        await old.query('rollback');
        if (swapped) break;
      }
    } catch {
      // the server restarted; another seed will look again
    } finally {
      await Promise.all(clients.map((client) => client.end().catch(() => {})));
    }
  }
}
