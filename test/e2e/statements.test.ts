import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, inject, it } from 'vitest';
import type { MigrationFile } from '../../src/config/migration-file.ts';
import { buildShop, migrationFile } from '../../src/demo/schema.ts';
import { pageOfTable, sourceTable, statementFor, type Table } from '../../src/demo/statements.ts';
import type { Operation, WireProtocol } from '../../src/demo/workload.ts';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import type { StatementReport, StatementsReport } from '../../src/migration/statements/report.ts';
import { reportStatements } from '../../src/pipeline/statements.ts';
import { plan as makePlan } from '../../src/pipeline.ts';
import { start } from '../chaos/child.ts';
import { Rig } from '../chaos/rig.ts';
import { afterFile } from '../support/database.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';
import { olderBinaries } from '../support/older-server.ts';
import { logged } from '../support/shop.ts';

const reportOf = async (db: MigrationDatabase, file: MigrationFile, begun = false) =>
  reportStatements(db.ctx, file, begun ? null : await preflight(db.ctx.pool, file));

interface Query {
  readonly text: string;
  readonly values?: unknown[];
}

async function measured(db: MigrationDatabase, { text, values }: Query): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    const { rows } = await db.pool.query(`explain (analyze, timing off, format json) ${text}`, values);
    times.push(rows[0]['QUERY PLAN'][0]['Execution Time']);
  }
  return Math.min(...times);
}

/** Who is much slower on the overlay by the clock, and who is by the report: nobody may be missing. */
async function expectNamed(
  db: MigrationDatabase,
  report: StatementsReport,
  pairs: ReadonlyMap<string, { old: Query; anew: Query }>,
): Promise<string[]> {
  const slower: string[] = [];
  for (const one of report.statements) {
    const pair = pairs.get(one.statement);
    if (!pair) continue;
    const [before, now] = [await measured(db, pair.old), await measured(db, pair.anew)];
    if (now < 5 * before || now < 2) continue;
    slower.push(one.statement);
    expect(one.slow_on_overlay, `${one.statement}: ${before} ms, then ${now} ms`).not.toBe(null);
  }
  return slower;
}

async function halfCopied(m: Rig): Promise<void> {
  await m.begin();
  await m.claim();
  await m.cutOverReads();
  for (let i = 0; i < 10; i++) await m.tick();
  expect(await m.copied()).toBe(false);
  await m.sql(`analyze ${m.plan.names.target}`);
}

const named = (report: StatementsReport, pattern: RegExp): StatementReport[] =>
  report.statements.filter(({ statement }) => pattern.test(statement));

describe('the report on real logs', () => {
  it("the demo's: all its lookups go through the overlay, its pages by id do not", async () => {
    const rows = 40_000;
    const db = await migrationDatabase();
    const client = await db.client();
    await buildShop(client, rows);
    await client.end();
    const app = await db.client(logged);
    const protocols: WireProtocol[] = ['simple', 'extended', 'named'];
    const anew: Table = { name: 'public.orders_v2', format: 'new' };
    const operations: Operation[] = protocols.flatMap((protocol) => [
      { kind: 'read', ids: [77], protocol },
      { kind: 'read', ids: [5, 500, 5000], protocol },
      { kind: 'update', id: 9, status: 'paid', protocol },
    ]);
    operations.push({ kind: 'insert', customer: 3, cents: 5, city: 'Gent', items: 1, gift: false });
    operations.push({ kind: 'delete', id: 11 });
    for (const operation of operations) await app.query(statementFor(operation, sourceTable));
    await app.query(pageOfTable(sourceTable, 100, 500));
    await app.end();

    const file = migrationFile({ rows, queryLog: inject('serverLogGlob') });
    const migration = await makePlan(db.ctx, file);
    const m = new Rig(db, migration, file, { setup: '', expected: '', lanes: 1, chunkRows: 2000 });
    const before = await reportOf(db, file);
    await halfCopied(m);
    const during = await reportOf(db, file, true);
    await m.close();
    expect(during.tried_on.overlay).toBe(true);

    const reads = operations.filter(({ kind }) => kind === 'read');
    const pairs = new Map<string, { old: Query; anew: Query }>();
    const shapeOf = (report: StatementsReport, head: string) =>
      report.statements
        .filter(({ statement }) => statement.startsWith(head))
        .map(({ statement }) => statement);
    for (const shape of shapeOf(before, 'select')) {
      const read = shape.includes(' > ?')
        ? { old: pageOfTable(sourceTable, 100, 500), anew: pageOfTable(anew, 100, 500) }
        : shape.endsWith('id = ?')
          ? { old: statementFor(reads[1 + 1]!, sourceTable), anew: statementFor(reads[1 + 1]!, anew) }
          : { old: statementFor(reads[3]!, sourceTable), anew: statementFor(reads[3]!, anew) };
      pairs.set(shape, read as { old: Query; anew: Query });
    }
    expect(pairs.size).toBe(4);
    for (const report of [before, during]) {
      const slower = await expectNamed(db, report, pairs);
      expect(slower).toEqual([expect.stringContaining('order by id limit')]);
      for (const one of named(report, /^select .* where id (=|in)/)) {
        expect(one.slow_on_overlay, one.statement).toBe(null);
        expect(one.error_on_overlay).toContain('does not exist'); // it speaks the old format
      }
      expect(named(report, /^(update|insert|delete)/).every((one) => one.not_for_overlay.length > 0)).toBe(
        true,
      );
      expect(
        report.statements.every((one) => !one.prepared_breaks),
        'finish is route',
      ).toBe(true);
    }
  }, 120_000);

  const pgbench = olderBinaries === null ? null : join(olderBinaries, 'pgbench');
  it.skipIf(pgbench === null || !existsSync(pgbench))(
    "pgbench's: nothing of TPC-B is slow; what a script adds is named, and its index helps",
    async () => {
      const db = await migrationDatabase();
      const filled = start(pgbench as string, ['-i', '-q', '-s', '1', db.url]);
      expect(await filled.ended, filled.output.stderr).toBe(0);
      await db.pool.query(
        'create index by_filler on pgbench_accounts (bid, abalance); create table accounts_v2 (aid bigint primary key, bid bigint, abalance bigint, filler char(84))',
      );
      const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-pgbench-'));
      afterFile(() => rm(folder, { recursive: true, force: true }));
      const script = join(folder, 'richest.sql');
      await writeFile(
        script,
        '\\set balance random(1000000, 2000000)\nselect aid from pgbench_accounts where bid = 1 and abalance > :balance;\nselect sum(abalance) from pgbench_accounts;\n',
      );
      const url = `${db.url}?options=${encodeURIComponent('-c log_statement=all')}`;
      for (const mode of ['simple', 'prepared']) {
        const args = ['-n', '-c', '1', '-t', '5', '-M', mode, '-b', 'tpcb-like', '-f', script, url];
        const load = start(pgbench as string, args);
        expect(await load.ended, load.output.stderr).toBe(0);
      }
      const file = migrationOf({
        name: 'pgbench',
        source: 'public.pgbench_accounts',
        target: 'public.accounts_v2',
        key: ['aid'],
        map: { aid: 'aid::bigint', bid: 'bid::bigint', abalance: 'abalance::bigint' },
        queryLog: { path: inject('serverLogGlob') },
      });
      const migration = await makePlan(db.ctx, file);
      const m = new Rig(db, migration, file, { setup: '', expected: '', lanes: 1, chunkRows: 5000 });
      const before = await reportOf(db, file);
      await halfCopied(m);
      const during = await reportOf(db, file, true);
      const ask = (where: string) => ({
        text: `select aid from ${where} where bid = 1 and abalance > 1500000`,
      });
      const sum = (where: string) => ({ text: `select sum(abalance) from ${where}` });
      const one = (where: string) => ({ text: `select abalance from ${where} where aid = 77` });
      const pairs = new Map<string, { old: Query; anew: Query }>();
      for (const { statement, kind } of before.statements) {
        if (kind !== 'select') continue;
        const query = /sum/i.test(statement) ? sum : /bid/i.test(statement) ? ask : one;
        pairs.set(statement, { old: query('pgbench_accounts'), anew: query('accounts_v2') });
      }
      expect(pairs.size).toBe(3);
      for (const report of [before, during]) {
        const slower = await expectNamed(db, report, pairs);
        expect(slower).toContainEqual(expect.stringMatching(/bid = \? and abalance > \?/));
        const [lookup] = named(report, /^SELECT abalance .* WHERE aid = \?/i);
        expect(lookup).toMatchObject({
          slow_on_overlay: null,
          prepared_breaks: true,
          error_on_overlay: null,
        });
        const [update] = named(report, /^UPDATE/i);
        expect(update).toMatchObject({ prepared_breaks: false, error_after_swap: null });
      }
      // every index on S that the report asks for, and then the statement is quick: by its plan, not by the clock
      const helps = during.indexes.filter(({ why }) => why === 'overlay');
      expect(helps.map(({ table }) => table).sort()).toEqual(['source', 'target']);
      for (const { sql } of helps) await db.pool.query(sql);
      await db.pool.query(`analyze pgbench_accounts; analyze ${m.plan.names.target}`);
      const { rows } = await db.pool.query(`explain (format json) ${ask('accounts_v2').text}`);
      const plan = JSON.stringify(rows[0]['QUERY PLAN']);
      expect(plan).not.toMatch(/"Seq Scan","[^}]*"Relation Name":"(pgbench_accounts|accounts_v2)"/);
      const later = await reportOf(db, file, true);
      expect(named(later, /bid = \? and abalance > \?/)[0]?.slow_on_overlay).toBe(null);
      await m.close();
    },
    120_000,
  );
});
