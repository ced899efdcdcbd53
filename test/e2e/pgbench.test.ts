import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, inject, it } from 'vitest';
import type { MigrationFile } from '../../src/config/migration-file.ts';
import { type Child, foreshadow, start } from '../chaos/child.ts';
import { afterFile, type TestDatabase } from '../support/database.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';
import { olderBinaries, olderServer } from '../support/older-server.ts';

// The embedded server comes without pgbench; the one of an older server speaks to any.
const pgbench = olderBinaries === null ? null : join(olderBinaries, 'pgbench');
const available = pgbench !== null && existsSync(pgbench);
const where = available ? '' : ' (skipped: no pgbench beside a PostgreSQL 14-17)';

type Mode = 'simple' | 'extended' | 'prepared';
type Server = 'PostgreSQL 18' | 'an older server';

let older: ReturnType<typeof olderServer> | null = null;
async function serverOf(name: Server): Promise<{ readonly url: string }> {
  if (name === 'PostgreSQL 18') return { url: inject('serverUrl') };
  older ??= olderServer();
  return older;
}

/** Every column but the ones that pgbench reads gets another type, and the pages another fill factor. */
const quiet = {
  target: 'aid bigint primary key, bid bigint, abalance int, filler text',
  map: { aid: 'aid::bigint', bid: 'bid::bigint', filler: 'rtrim(filler::text)' },
};
/** So does `abalance`, which pgbench selects. */
const loud = {
  target: 'aid bigint primary key, bid int, abalance numeric(14, 2), filler char(84)',
  map: { aid: 'aid::bigint', abalance: 'abalance::numeric(14, 2)' },
};

type Change = typeof quiet | typeof loud;

/** pgbench's tables, filled, and an empty target for its accounts. */
async function initialised(
  server: Server,
  { target, map }: Change,
): Promise<{ db: MigrationDatabase; file: MigrationFile }> {
  const db = await migrationDatabase('', await serverOf(server));
  const filled = start(pgbench as string, ['-i', '-q', '-s', '1', db.url]);
  expect(await filled.ended, filled.output.stderr).toBe(0);
  await db.pool.query(`create table accounts_v2 (${target}) with (fillfactor = 70)`);
  const tables = { source: 'public.pgbench_accounts', target: 'public.accounts_v2', key: ['aid'] };
  return { db, file: migrationOf({ name: 'pgbench', ...tables, map }) };
}

/** Four sessions that go on until they are told to stop; not faster, so that the migration has a share of the machine. */
function load(db: TestDatabase, mode: Mode): Child & { stop(): Promise<number | null> } {
  const args = ['-n', '-c', '4', '-j', '1', '-M', mode, '-R', '400', '-T', '90', db.url];
  const child = start(pgbench as string, args);
  return {
    ...child,
    stop: () => {
      child.process.kill('SIGALRM'); // what ends it when its -T is over: every session finishes its transaction
      return child.ended;
    },
  };
}

const failed = (bench: Child) => /number of failed transactions: (\d+)/.exec(bench.output.stdout)?.[1];

/** What pgbench's four tables say, each of which a transaction changes by the same amount. */
async function sums(db: TestDatabase) {
  const { rows } = await db.pool.query(
    `select (select sum(abalance)::bigint from pgbench_accounts) as accounts,
            (select sum(bbalance)::bigint from pgbench_branches) as branches,
            (select sum(tbalance)::bigint from pgbench_tellers) as tellers,
            (select sum(delta)::bigint from pgbench_history) as history,
            (select count(*)::int from pgbench_accounts) as n,
            (select count(*)::int from foreshadow.pgbench_accounts_old) as old,
            (select count(*)::int from pgbench_history) as transactions,
            (select data_type from information_schema.columns where table_schema = 'public'
                and table_name = 'pgbench_accounts' and column_name = 'aid') as type`,
  );
  const { accounts, branches, tellers, history, transactions, ...rest } = rows[0];
  expect({ branches, tellers, history }).toEqual({
    branches: accounts,
    tellers: accounts,
    history: accounts,
  });
  expect(rest).toEqual({ n: 100_000, old: 100_000, type: 'bigint' });
  return { transactions: transactions as number };
}

describe.skipIf(!available)(`pgbench${where}`, () => {
  const matrix: [Server, Mode, Change][] = [
    ['PostgreSQL 18', 'simple', loud],
    ['PostgreSQL 18', 'extended', loud],
    ['PostgreSQL 18', 'prepared', quiet],
    ['an older server', 'simple', loud],
    ['an older server', 'extended', loud],
    ['an older server', 'prepared', quiet],
  ];

  it.each(matrix)(
    'on %s, in %s mode, does not notice that its accounts move',
    async (server, mode, change) => {
      const { db, file } = await initialised(server, change);
      const bench = load(db, mode);
      await sleep(500);
      expect(await db.run(file)).toMatchObject({ status: 'COMPLETED' });
      const before = await sums(db);
      await sleep(1000);
      expect(bench.process.exitCode, bench.output.stderr).toBe(null);
      expect(await bench.stop(), bench.output.stderr).toBe(0);
      expect(failed(bench), bench.output.stdout).toBe('0');
      const { transactions } = await sums(db);
      expect(before.transactions).toBeGreaterThan(100);
      expect(transactions, 'pgbench goes on after the swap').toBeGreaterThan(before.transactions);
    },
    120_000,
  );

  it('in prepared mode stops at a type that it reads, as doctor has said; anew, it goes on', async () => {
    const { db, file } = await initialised('PostgreSQL 18', loud);
    const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-pgbench-'));
    afterFile(() => rm(folder, { recursive: true, force: true }));
    const path = join(folder, 'migration.json');
    await writeFile(path, JSON.stringify(file));
    const doctor = foreshadow(db.url, folder, 'doctor', path, '--json');
    expect(await doctor.ended, doctor.output.stderr).toBe(0);
    const { checks } = JSON.parse(doctor.output.stdout) as { checks: { id: string; message: string }[] };
    const warning = checks.find((check) => check.id === 'prepared statements');
    expect(warning).toMatchObject({ status: 'warn', hint: expect.stringContaining('"route"') });
    expect(warning?.message).toContain('abalance integer → numeric(14,2)');

    const bench = load(db, 'prepared');
    await sleep(500);
    const run = foreshadow(db.url, folder, 'run', path, '--json');
    expect(await run.ended, run.output.stderr).toBe(0);
    expect(JSON.parse(run.output.stdout)).toMatchObject({ status: 'COMPLETED' });
    await bench.ended;
    expect(bench.output.stderr).toContain('cached plan must not change result type');
    const { transactions } = await sums(db);

    const anew = load(db, 'prepared');
    await sleep(1000);
    expect(await anew.stop(), anew.output.stderr).toBe(0);
    expect(failed(anew), anew.output.stdout).toBe('0');
    expect((await sums(db)).transactions).toBeGreaterThan(transactions);
  }, 120_000);
});
