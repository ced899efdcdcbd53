import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import type { TestDatabase } from '../support/database.ts';

/** Below n. Chaos is not replayed: the schedule of a server with ten busy sessions cannot be. */
export const below = (n: number) => Math.floor(Math.random() * n);
const once = (n: number) => below(n) === 0;

/** What a hostile writer must know of a table: statements that mean the same before and after the swap. */
export interface Shape {
  /** key columns, in key order */
  readonly key: readonly string[];
  /** a random key, as texts; some exist and some do not */
  readonly someKey: () => string[];
  /** keys outside the range of {@link someKey}, one for each writer: the resting place of a swap */
  readonly aside: (writer: number) => string[];
  /** whether `u` is unique */
  readonly unique: boolean;
}

export interface WriterOptions {
  readonly db: TestDatabase;
  readonly shape: Shape;
  /** longest pause between transactions, in ms */
  readonly pause: number;
  /** looks at the database from within the writer's own transaction, its uncommitted changes included */
  readonly lookInside: (client: Client) => Promise<void>;
}

export interface WriterCounts {
  operations: number;
  commits: number;
  prepared: number;
  rolledBack: number;
  /** SQLSTATE → how often; any other error ends the test */
  readonly refused: Record<string, number>;
}

/**
 * What a correct application meets anyway and tries again: conflicts of its own making, and a session that was ended
 * (57P01), as the guard does to one that could go back to a savepoint and read on by a snapshot from before the swap.
 */
const expected = ['40001', '40P01', '23505', '57P01'];

/**
 * Six of them run at once: two READ COMMITTED, two REPEATABLE READ, two SERIALIZABLE, the last one as a replica, which
 * ordinary triggers do not see. They know the table by name only, so after the swap they write to the new one.
 */
export async function hostileWriter(
  id: number,
  { db, shape, pause, lookInside }: WriterOptions,
  counts: WriterCounts,
  stop: { readonly now: boolean },
): Promise<void> {
  const connect = async () => {
    const opened = await db.client({ application_name: `writer ${id}` });
    if (id === 5) await opened.query('set session_replication_role = replica');
    return opened;
  };
  let client = await connect();
  const isolation = ['read committed', 'repeatable read', 'serializable'][id % 3];
  const at = (first: number) => shape.key.map((name, i) => `${name} = $${first + i}`).join(' and ');
  const width = shape.key.length;
  const places = shape.key.map((_, i) => `$${i + 1}`).join(', ');
  const columns = shape.key.join(', ');
  const move = (from: string[], to: string[]) =>
    client.query(
      `update s set (${columns}) = row(${shape.key.map((_, i) => `$${width + i + 1}`).join(', ')}) where ${at(1)}`,
      [...from, ...to],
    );

  const operations: (() => Promise<unknown>)[] = [
    () => client.query(`update s set v = v + 1 where ${at(1)}`, shape.someKey()),
    () => client.query(`update s set w = null where ${at(1)}`, shape.someKey()),
    () => client.query(`update s set w = 'u${below(1000)}' where ${at(1)}`, shape.someKey()),
    () => client.query(`update s set v = v + 1 where ctid in (select ctid from s limit 40)`),
    () => client.query(`delete from s where ${at(1)}`, shape.someKey()),
    insert,
    insert,
    () =>
      client.query(
        `insert into s (${columns}, v, w) values (${places}, 7, 'upsert') on conflict (${columns}) do update set v = s.v + 100, w = excluded.w`,
        shape.someKey(),
      ),
    async () => {
      const key = shape.someKey();
      await client.query(`delete from s where ${at(1)}`, key);
      await client.query(`insert into s (${columns}, v, w) values (${places}, 9, 'reborn')`, key);
    },
    () => move(shape.someKey(), shape.someKey()),
    async () => {
      const [one, other, rest] = [shape.someKey(), shape.someKey(), shape.aside(id)];
      await move(one, rest);
      await move(other, one);
      await move(rest, other);
    },
    async () => {
      if (!shape.unique) return;
      const [one, other] = [shape.someKey(), shape.someKey()];
      const read = async (key: string[]) =>
        (await client.query<{ u: string | null }>(`select u from s where ${at(1)}`, key)).rows[0]?.u ?? null;
      const write = (key: string[], u: string | null) =>
        client.query(`update s set u = $${width + 1} where ${at(1)}`, [...key, u]);
      const [first, second] = [await read(one), await read(other)];
      await write(one, null);
      await write(other, first);
      await write(one, second);
    },
    () => client.query(`select 1 from s where ${at(1)} for update`, shape.someKey()),
  ];
  async function insert() {
    const u = shape.unique ? `new ${id} ${counts.operations}` : null;
    await client.query(
      `insert into s (${columns}, v, w, u) values (${places}, 1, 'new', $${width + 1}) on conflict do nothing`,
      [...shape.someKey(), u],
    );
  }

  while (!stop.now) {
    try {
      await client.query(`begin isolation level ${isolation}`);
      for (let left = 1 + below(4); left > 0; left--) {
        const guarded = once(5);
        if (guarded) await client.query('savepoint here');
        await operations[below(operations.length)]?.();
        if (guarded && once(2)) await client.query('rollback to savepoint here');
        counts.operations += 1;
      }
      if (once(12)) await lookInside(client);
      if (once(12)) {
        const gid = `writer ${id} ${counts.operations}`;
        await client.query(`prepare transaction '${gid}'`);
        await sleep(below(20));
        await client.query(`${once(4) ? 'rollback' : 'commit'} prepared '${gid}'`);
        counts.prepared += 1;
      } else if (once(8)) {
        await client.query('rollback');
        counts.rolledBack += 1;
      } else {
        await client.query('commit');
        counts.commits += 1;
      }
    } catch (error) {
      const { code = '' } = error as { code?: string };
      if (!expected.includes(code)) throw error;
      counts.refused[code] = (counts.refused[code] ?? 0) + 1;
      if (code === '57P01') client = await connect();
      else await client.query('rollback');
    }
    await sleep(below(pause));
  }
  await client.end();
}
