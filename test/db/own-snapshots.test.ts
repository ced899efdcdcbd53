import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { expect, it } from 'vitest';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';

/** Dear enough that one statement over the whole table takes longer than any snapshot of ours may last. */
const rows = 60_000;
const microseconds = 120;
/** Seconds. */
const oldest = 5;

const setup = `
  create function dear(v int) returns int language plpgsql immutable as
    'declare until timestamptz := clock_timestamp() + interval ''${microseconds} microseconds'';
     begin while clock_timestamp() < until loop end loop; return v; end';
  create table s (id int primary key, v int not null, note text);
  insert into s select g, g % 1000, 'n' || g % 7 from generate_series(1, ${rows}) g;
  analyze s;
  create table t (id bigint primary key, v int not null, note text);`;

interface Seen {
  age: number;
  query: string;
}

/** The oldest transaction of ours that keeps dead rows alive; index builds are announced, and a vacuum holds nobody back. */
const oldestOfOurs = `
  select extract(epoch from clock_timestamp() - a.xact_start)::float8 as age, left(a.query, 300) as query
    from pg_stat_activity a
   where a.datname = current_database() and a.application_name like 'foreshadow%'
     and (a.backend_xmin is not null or a.backend_xid is not null)
     and a.query not ilike 'create %index concurrently%'
     and not exists (select 1 from pg_stat_progress_vacuum v where v.pid = a.pid)
   order by 1 desc limit 1`;

async function watch(client: Client, over: AbortSignal): Promise<Seen> {
  let worst: Seen = { age: 0, query: '' };
  while (!over.aborted) {
    const { rows: found } = await client.query<Seen>(oldestOfOurs);
    if (found[0] && found[0].age > worst.age) worst = found[0];
    await sleep(50);
  }
  return worst;
}

it('P21: of a whole migration of rows that are dear to map, no snapshot is older than 5 s', async () => {
  const db = await migrationDatabase(setup);
  const over = new AbortController();
  const watching = watch(await db.client(), over.signal);
  const file = migrationOf({
    map: { id: 'id::bigint', v: 'public.dear(v)' },
    back: { v: 'v' },
    shadow: { fraction: 0.2 },
    confidence: { consecutive: 2 },
  });
  const status = await db.run(file).finally(() => over.abort());
  expect(status).toMatchObject({
    status: 'COMPLETED',
    verification: { missing: 0, extra: 0, different: 0, compared: rows },
  });
  const worst = await watching;
  expect(worst.age, worst.query).toBeLessThanOrEqual(oldest);
  const { rows: took } = await db.pool.query<{ s: number }>(
    `select extract(epoch from max(at) - min(at))::float8 as s from foreshadow.migration_event`,
  );
  expect(took[0]?.s, 'long enough to tell').toBeGreaterThan(oldest);
}, 240_000);
