import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { count, differences } from './compare.ts';
import { expectedSql, heldSql, type Shape } from './shapes.ts';

/** Looks at the overlay, which must equal f(S) in every snapshot, and at what old snapshots find after the swap. */
export class Watch {
  readonly #shape: Shape;
  readonly #onFault: (what: string) => void;
  #gate: string | null = null;
  snapshots = 0;
  straddled = 0;

  constructor(shape: Shape, onFault: (what: string) => void) {
    this.#shape = shape;
    this.#onFault = onFault;
  }

  /** Views bind S and T by OID, so the swap's renames cannot mix them up. Once the migration has begun. */
  async prepare(client: Client): Promise<void> {
    if (this.#gate) return;
    const { rows } = await client.query<{ id: number }>('select id from foreshadow.migration_status');
    await client.query(
      `set lock_timeout = '2s';
       create or replace view foreshadow.mapped_source as ${expectedSql(this.#shape, 's')};
       create or replace view new_table as ${heldSql(this.#shape, 'foreshadow.t s')}`,
    );
    this.#gate = `select 1 from foreshadow.overlay_gate_${rows[0]?.id}`;
  }

  /** One snapshot: before the swap the overlay is f(S), after it the new table. */
  async compare(client: Client, where: string): Promise<void> {
    if (!this.#gate) return;
    const closed = `exists (${this.#gate})`;
    const right = `select * from foreshadow.mapped_source where not ${closed} union all select * from new_table where ${closed}`;
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
  async straddle(
    connect: () => Promise<Client>,
    stop: { readonly now: boolean },
    most = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    const [holder, old, looker] = await Promise.all([connect(), connect(), connect()]);
    const clients = [holder, old, looker];
    const swapWaits = async () =>
      (
        await looker.query(
          `select 1 from pg_locks where relation = 'public.t'::regclass and mode = 'AccessExclusiveLock' and not granted`,
        )
      ).rowCount === 1;
    const closed = async () => (await looker.query(this.#gate ?? '')).rowCount === 1;
    try {
      for (let tried = 0; tried < most && !stop.now && !this.straddled; tried++) {
        await holder.query('begin; select 1 from public.t limit 1');
        while (!stop.now && !(await swapWaits()) && !(await closed())) await sleep(5);
        await old.query('begin isolation level repeatable read; select * from nothing');
        await holder.query('commit');
        await sleep(40);
        const [swapped, seen] = [await closed(), (await old.query(this.#gate ?? '')).rowCount === 1];
        if (swapped && !seen) {
          const found = await differences(
            old,
            heldSql(this.#shape, 's'),
            'select * from foreshadow.mapped_source',
          );
          if (count(found))
            this.#onFault(`the new table, by a snapshot from before the swap: ${JSON.stringify(found)}`);
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
