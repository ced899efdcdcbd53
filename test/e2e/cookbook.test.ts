import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { getMigration } from '../../src/migration/status.store.ts';
import { differenceSql } from '../chaos/rig.ts';
import { readCookbook } from '../support/cookbook.ts';
import { failureOf, type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';
import { olderBinaries, olderServer } from '../support/older-server.ts';

interface Trial {
  /** SELECT that gives rows g of the source, in its columns */
  readonly rows: string;
  readonly before?: string;
  /** what a server must be able to do, as SQL that gives `t`; the older one is asked when the embedded one cannot */
  readonly needs?: string;
  /** how many */
  readonly count?: number;
  /** one change of a row with this id */
  readonly change: (id: number, n: number) => string;
  readonly remove?: (id: number) => string;
  /** what the target must hold, written by hand: a query over the old table $old, in the target's columns */
  readonly expected: string;
  /** what else must be so after the swap: SQL that gives `t` */
  readonly after?: readonly string[];
  /** and in the middle, with the overlay in place */
  readonly meanwhile?: (db: MigrationDatabase) => Promise<void>;
}

const trials: Readonly<Record<string, Trial>> = {
  'wider-key': {
    before: "select setval(pg_get_serial_sequence('orders', 'id'), 100000)",
    rows: "select g, g % 40, 'n' || g from $g",
    change: (id, n) => `update orders set note = 'changed ${n}', customer = ${n % 40} where id = ${id}`,
    expected: 'select id::bigint, customer, note from $old',
    after: [
      "select to_regclass('public.orders_customer') is not null as t",
      "select nextval(pg_get_serial_sequence('public.orders', 'id')) = 100001 as t",
    ],
  },
  'text-to-enum': {
    rows: "select g, (array['new', 'open', 'done'])[1 + g % 3], 't' || g from $g",
    change: (id, n) =>
      `update tickets set status = (array['new', 'open', 'done'])[1 + ${n} % 3] where id = ${id}`,
    expected: 'select id, status::public.ticket_status, title from $old',
    after: ["select (select min(status) from tickets) = 'new' as t"],
  },
  'jsonb-to-columns': {
    rows: `select g, case g % 4 when 0 then '{"kind": "view"}'::jsonb
             when 1 then jsonb_build_object('kind', 'sale', 'amount', g / 8.0, 'gift', g % 3 = 0, 'more', jsonb_build_array(g, null))
             when 2 then '{"kind": "sale", "amount": 1.50, "gift": true}'
             else '{"kind": "ping", "gift": false, "of": {"a": "b"}}' end from $g`,
    change: (id, n) =>
      `update events set doc = doc || jsonb_build_object('amount', ${n} / 4.0, 'seen', ${n}) where id = ${id}`,
    expected: `select id, doc ->> 'kind', round((doc ->> 'amount')::numeric, 2)::numeric(12, 2), coalesce((doc -> 'gift')::boolean, false),
                      doc - '{kind,amount,gift}'::text[] from $old`,
  },
  'split-name': {
    rows: "select g, case g % 3 when 0 then 'Ada' when 1 then 'Ada Lovelace' || g else 'Jean de La Fontaine' end from $g",
    change: (id, n) => `update people set full_name = 'Grace ${n} Hopper' where id = ${id}`,
    expected: `select id, (regexp_match(full_name, '^[^ ]*'))[1], (regexp_match(full_name, '^[^ ]* (.+)$'))[1] from $old`,
    after: [
      "select bool_and(concat_ws(' ', n.first_name, n.last_name) = o.full_name) as t from people n join $old o using (id)",
    ],
  },
  'time-zones': {
    rows: "select g, timestamp '2026-03-29 03:00' + g * interval '7 minutes', date '2026-01-01' + g from $g",
    change: (id, n) =>
      `update meetings set starts = timestamp '2026-10-25 00:30' + ${n} * interval '1 minute' where id = ${id}`,
    expected: `select id, (starts::text || ' Europe/Berlin')::timestamptz, day from $old`,
  },
  reencrypt: {
    rows: `select g, case when g % 10 > 0 then iv || encrypt_iv(convert_to('secret ' || g, 'UTF8'), (select key from vault.keys where name = 'old'), iv, 'aes') end, 'l'
             from $g, lateral (select substr(digest('iv' || g, 'sha256'), 1, 16)) as vector(iv)`,
    change: (id, n) => `update cards set label = 'l${n}',
        secret = '\\x${'01'.repeat(16)}' || encrypt_iv('changed ${n}', '\\x000102030405060708090a0b0c0d0e0f', '\\x${'01'.repeat(16)}', 'aes') where id = ${id}`,
    expected: 'select id, public.reencrypt(id, secret), label from $old',
    after: [
      `select bool_and(decrypt_iv(substr(n.secret, 17), k2.key, substr(n.secret, 1, 16), 'aes')
                     = decrypt_iv(substr(o.secret, 17), k1.key, substr(o.secret, 1, 16), 'aes')) and count(n.secret) > 0 as t
         from cards n join $old o using (id), vault.keys k1, vault.keys k2 where k1.name = 'old' and k2.name = 'new'`,
      'select bool_and(n.secret is distinct from o.secret or o.secret is null) as t from cards n join $old o using (id)',
      // no key in anything that we have written down
      `select not exists (select from foreshadow.migration_status m where m::text ~ '000102030405|0f0e0d0c0b0a')
          and not exists (select from foreshadow.migration_event e where e::text ~ '000102030405|0f0e0d0c0b0a') as t`,
      "select prosrc !~ '000102|0f0e0d' as t from pg_proc where proname = 'reencrypt'",
    ],
    meanwhile: async (db) => {
      // a reader of the overlay needs EXECUTE on the function, and sees no key
      const role = `reader_${db.name}`;
      await db.pool.query(
        `create role ${role}; grant select on cards_v2 to ${role}; grant usage on schema public to ${role}`,
      );
      const client = await db.client();
      try {
        await client.query(`set role ${role}`);
        expect((await failureOf(client.query('select secret from cards_v2'))).code).toBe('42501');
        await db.pool.query(`grant execute on function reencrypt(bigint, bytea) to ${role}`);
        expect((await client.query('select secret from cards_v2 where id = 7')).rowCount).toBe(1);
        expect((await failureOf(client.query('select * from vault.keys'))).code).toBe('42501');
        const { rows } = await client.query<{ 'QUERY PLAN': string }>(
          'explain (verbose) select secret from cards_v2',
        );
        expect(JSON.stringify(rows)).not.toMatch(/000102|0f0e0d|vault/);
      } finally {
        await client.end();
        await db.pool.query(`drop owned by ${role}; drop role ${role}`);
      }
    },
  },
  storage: {
    needs: "select 'lz4' = any (enumvals) as t from pg_settings where name = 'default_toast_compression'",
    rows: "select g, repeat('page ' || g || ' ', 400), 0 from $g",
    change: (id, n) => `update pages set hits = hits + 1, body = repeat('new ${n} ', 500) where id = ${id}`,
    expected: 'select id, body, hits from $old',
    after: [
      "select count(*) filter (where pg_column_compression(body) = 'lz4') = count(*) as t from pages",
      "select reloptions @> '{fillfactor=70,toast_tuple_target=512}' as t from pg_class where oid = 'public.pages'::regclass",
    ],
  },
  'hash-partitions': {
    rows: 'select g, g % 50, g / 3.0 from $g',
    change: (id, n) => `update readings set value = ${n}, sensor = sensor + 1 where id = ${id}`,
    expected: 'select id, sensor, value from $old',
    after: [
      "select relkind = 'p' as t from pg_class where oid = 'public.readings'::regclass",
      'select count(distinct tableoid) = 3 as t from readings',
      `select indisvalid and count(*) = 1 and (select count(*) from pg_inherits where inhparent = max(indexrelid)) = 3 as t
         from pg_index where indexrelid = 'public.readings_sensor'::regclass group by indisvalid`,
      "select count(*) = 0 as t from pg_class where relnamespace = 'public'::regnamespace and relname like '%foreshadow%'",
    ],
  },
  'range-partitions': {
    rows: "select g, timestamptz '2024-12-31 12:00Z' + g * interval '1 day', 'line ' || g from $g",
    change: (id, n) =>
      n % 3 === 0
        ? `update log set at = at + interval '1 year' where id = ${id}` // another partition
        : `update log set line = 'changed ${n}' where id = ${id}`,
    expected: 'select id, at, line from $old',
    after: [
      "select relkind = 'p' as t from pg_class where oid = 'public.log'::regclass",
      'select count(distinct tableoid) = 3 as t from log',
    ],
  },
  generated: {
    rows: "select g, g * 1000, g % 9, 'item number ' || g from $g",
    change: (id, n) => `update items set quantity = ${n % 12}, title = 'changed ${n}' where id = ${id}`,
    expected: `select id, price_cents, quantity, title, price_cents::bigint * quantity, to_tsvector('simple', title) from $old`,
  },
  collation: {
    rows: `select g, (array['a', 'A', 'ä', 'b', 'Z', 'z'])[1 + g % 6] || g from $g`,
    change: (id, n) =>
      `update names set name = (array['Ö', 'o', 'O'])[1 + ${n} % 3] || '${n}' where id = ${id}`,
    expected: 'select id, name from $old',
    after: [
      // by byte, not by language
      `select array_agg(name order by name) = array_agg(name order by convert_to(name, 'UTF8')) as t from names`,
      "select count(*) = 1 as t from pg_indexes where tablename = 'names' and schemaname = 'public' and indexdef like '%(name%'",
    ],
  },
};

async function reasonOf(db: MigrationDatabase): Promise<string> {
  const { rows } = await db.pool.query(
    'select status, phase, wait_reason, gate from foreshadow.migration_status',
  );
  return JSON.stringify(rows);
}

let older: ReturnType<typeof olderServer> | null = null;

async function databaseFor({ needs }: Trial): Promise<MigrationDatabase | null> {
  const db = await migrationDatabase();
  if (!needs || (await db.pool.query(needs)).rows[0]?.t) return db;
  if (olderBinaries === null) return null;
  older ??= olderServer();
  const other = await migrationDatabase('', await older);
  return (await other.pool.query(needs)).rows[0]?.t ? other : null;
}

const bare = (name: string) => name.replace('public.', '');

/** Writers that change, remove and bring back rows of the source until they are told to stop. */
function writers(db: MigrationDatabase, source: string, trial: Trial) {
  const { count = 3000 } = trial;
  let stopped = false;
  let written = 0;
  const one = async (seed: number) => {
    for (let n = seed; !stopped; n += 3) {
      const id = 1 + ((n * 7919) % count);
      if (n % 10 === 9) {
        const row = trial.rows.replace('$g', `generate_series(${count + n}, ${count + n}) g`);
        await db.pool.query(`insert into ${source} ${row}`);
      } else if (n % 10 === 5) await db.pool.query(`delete from ${source} where id = ${id}`);
      else await db.pool.query(trial.change(id, n));
      written++;
      await sleep(2);
    }
  };
  const running = Promise.all([one(1), one(2), one(3)]);
  return {
    stop: async () => {
      stopped = true;
      await running;
      return written;
    },
  };
}

describe('the cookbook', () => {
  const recipes = readCookbook();

  it('has a trial for every entry', () => {
    expect(recipes.map(({ file }) => file.name).sort()).toEqual(Object.keys(trials).sort());
  });

  it.for(recipes)('$title', { timeout: 60_000 }, async ({ sql, file: given }, { skip }) => {
    const trial = trials[given.name]!;
    const { count = 3000 } = trial;
    const db = await databaseFor(trial);
    if (!db) return skip('no server here can do it');
    await db.pool.query(sql);
    await db.pool.query(
      `insert into ${given.source} ${trial.rows.replace('$g', `generate_series(1, ${count}) g`)}; analyze ${given.source}`,
    );
    const file = migrationOf({ ...given, cutover: { writes: 'operator' } });
    if (trial.before) await db.pool.query(trial.before);
    const { checks } = await preflight(db.ctx.pool, file);
    expect(checks.filter((check) => check.status === 'refuse')).toEqual([]);

    const load = writers(db, given.source, trial);
    const run = db.run(file);
    let failed: unknown = null;
    run.catch((error: unknown) => (failed = error));
    const deadline = performance.now() + 45_000;
    for (;;) {
      if (failed) throw failed;
      if (performance.now() > deadline) throw new Error(`it waits: ${await reasonOf(db)}`);
      const migration = await getMigration(db.pool, file.name).catch(() => null);
      if (migration?.status === 'IN_PROGRESS' && migration.phase === 'ready') break;
      await sleep(50);
    }
    await sleep(200);
    expect(await load.stop()).toBeGreaterThan(50);
    await trial.meanwhile?.(db);
    await db.pool.query(
      `update foreshadow.migration_status set orders = '{"cutover-writes": {"by": "test"}}' where name = $1`,
      [file.name],
    );
    expect(await run).toMatchObject({ status: 'COMPLETED' });

    const old = `foreshadow.${bare(given.source)}_old`;
    const expected = trial.expected.replaceAll('$old', old);
    const differences = await db.pool.query(differenceSql(`select * from ${given.source}`, expected));
    expect(differences.rows.slice(0, 5)).toEqual([]);
    for (const check of trial.after ?? [])
      expect((await db.pool.query(check.replaceAll('$old', old))).rows, check).toEqual([{ t: true }]);
  });
});
