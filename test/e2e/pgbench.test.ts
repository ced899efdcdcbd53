import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { foreshadow, start } from '../chaos/child.ts';
import { afterFile, testDatabase } from '../support/database.ts';
import { migrationOf } from '../support/migrations.ts';
import { olderBinaries, olderServer } from '../support/older-server.ts';

const pgbench = olderBinaries === null ? null : join(olderBinaries, 'pgbench');
const available = pgbench !== null && existsSync(pgbench);
const seconds = 25;

describe.skipIf(!available)(
  `pgbench against an older server${available ? '' : ' (skipped: no pgbench beside a PostgreSQL 14-17)'}`,
  () => {
    it('does not notice that its accounts move', async () => {
      const server = await olderServer();
      const db = await testDatabase(server);
      const initialised = start(pgbench as string, ['-i', '-q', '-s', '1', db.url]);
      expect(await initialised.ended, initialised.output.stderr).toBe(0);
      await db.pool.query(`create table accounts_v2 (
        aid bigint primary key, bid int, abalance numeric(14, 2), filler char(84))`);
      const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-pgbench-'));
      afterFile(() => rm(folder, { recursive: true, force: true }));
      const file = migrationOf({
        name: 'pgbench',
        source: 'public.pgbench_accounts',
        target: 'public.accounts_v2',
        key: ['aid'],
        map: { aid: 'aid::bigint', abalance: 'abalance::numeric(14, 2)' },
      });
      await writeFile(join(folder, 'migration.json'), JSON.stringify(file));

      const clients = ['-n', '-c', '4', '-j', '1', '-M', 'simple', '-T', String(seconds)];
      const bench = start(pgbench as string, [...clients, db.url]);
      const finished = { bench: false };
      void bench.ended.then(() => (finished.bench = true));
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const run = foreshadow(db.url, folder, 'run', join(folder, 'migration.json'), '--json');
      expect(await run.ended, run.output.stderr).toBe(0);
      const status = JSON.parse(run.output.stdout);
      expect(status).toMatchObject({ status: 'COMPLETED' });
      expect(finished.bench, 'pgbench goes on after the swap').toBe(false);
      expect(await bench.ended, bench.output.stderr).toBe(0);
      expect(bench.output.stdout).toMatch(/number of failed transactions: 0 /);

      const { rows } = await db.pool.query(
        `select (select sum(abalance)::bigint from pgbench_accounts) as accounts, (select sum(bbalance)::bigint from pgbench_branches) as branches,
                (select sum(tbalance)::bigint from pgbench_tellers) as tellers, (select sum(delta)::bigint from pgbench_history) as history,
                (select count(*)::int from pgbench_accounts) as n, (select count(*)::int from pgbench_history) as transactions,
                (select count(*)::int from foreshadow.pgbench_accounts_old) as old,
                (select data_type from information_schema.columns where table_schema = 'public' and table_name = 'pgbench_accounts' and column_name = 'aid') as type`,
      );
      const { accounts, branches, tellers, history, n, old, type, transactions } = rows[0];
      expect({ branches, tellers, history }).toEqual({
        branches: accounts,
        tellers: accounts,
        history: accounts,
      });
      expect({ n, old, type }).toEqual({ n: 100_000, old: 100_000, type: 'bigint' });
      expect(transactions).toBeGreaterThan(500);
    }, 120_000);
  },
);
