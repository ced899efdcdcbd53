import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, inject, it } from 'vitest';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import type { StatementReport, StatementsReport } from '../../src/migration/statements/report.ts';
import { reportStatements } from '../../src/pipeline/statements.ts';
import { foreshadow } from '../chaos/child.ts';
import { type Rig, rig } from '../chaos/rig.ts';
import { catalogueOf, rowsOnDisk } from '../support/catalogue.ts';
import { afterFile } from '../support/database.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';
import { inNewFormat, logged, shopFile, shopReads, shopSql, useShop } from '../support/shop.ts';
import { httpRig, type Who } from './http-rig.ts';

const made: Rig[] = [];
afterEach(async () => {
  for (const each of made.splice(0)) await each.close();
});

const rows = 100_000;
const file = () => migrationOf({ ...shopFile, queryLog: { path: inject('serverLogGlob') } });

/** The statement of the report that came from this text of the application's. */
function of(report: StatementsReport, pattern: RegExp): StatementReport {
  const found = report.statements.filter(({ statement }) => pattern.test(statement));
  expect(found, String(pattern)).toHaveLength(1);
  return found[0]!;
}

async function inUse(db: MigrationDatabase): Promise<void> {
  const app = await db.client(logged);
  await useShop(app);
  await app.end();
}

describe('before the migration begins', () => {
  it('every statement that names the table is told, and nothing is changed or run', async () => {
    const db = await migrationDatabase(shopSql(5000));
    await inUse(db);
    const before = await catalogueOf(db.pool);
    const rowsBefore = await rowsOnDisk(db.pool, 'orders');
    const report = await reportStatements(db.ctx, file(), await preflight(db.ctx.pool, file()));
    expect(await catalogueOf(db.pool)).toEqual(before);
    expect(await rowsOnDisk(db.pool, 'orders')).toEqual(rowsBefore);
    expect(report.tried_on).toEqual({ rows: 5001, sampled: false, overlay: false });
    expect(report.log).toMatchObject({ executions: 3 * 12 + 5, shapes: 17, elsewhere: 0, unparsed: 0 });

    // what cannot go through the overlay, and why
    const not = (pattern: RegExp) => of(report, pattern).not_for_overlay.join();
    expect(not(/for update/)).toContain('FOR UPDATE');
    expect(not(/^update/)).toContain('it writes');
    expect(not(/on conflict/)).toContain('ON CONFLICT');
    expect(not(/ctid/)).toContain('system columns');
    expect(not(/tablesample/)).toContain('TABLESAMPLE');
    expect(report.statements.filter(({ not_for_overlay }) => not_for_overlay.length)).toHaveLength(5);

    // what must be written anew, what breaks when it is prepared, what means something else
    expect(of(report, /status,amount_cents from/)).toMatchObject({
      error_on_overlay: 'column "amount_cents" does not exist',
      error_after_swap: 'column "amount_cents" does not exist',
      translated: true,
      prepared_breaks: false,
      slow_on_overlay: null,
    });
    expect(of(report, /^select \* /)).toMatchObject({ error_after_swap: null, prepared_breaks: true });
    expect(of(report, /count\(\*\) from orders where created_at/).prepared_breaks).toBe(false);
    expect(of(report, /^update/).prepared_breaks, 'it returns nothing').toBe(false);
    expect(of(report, /status = \?/).types.join()).toContain('order_status');
    expect(of(report, /for update/).executions).toBe(1);
    expect(report.serializable).toMatchObject({ executions: 2, defaults: [] });

    // no value of the application's
    expect(JSON.stringify(report)).not.toMatch(/'open'|c7|2020-01-01|\b1000\b/);
  });

  it('planning may call what is marked stable, and it can write nothing; what is volatile is not called at all', async () => {
    const db = await migrationDatabase(`${shopSql(2000)}
      create table public.calls (who text);
      create function public.spy() returns int language plpgsql volatile as $$
        begin insert into public.calls values ('volatile'); return 1; end $$;
      create function public.sly() returns int language plpgsql volatile as $$
        begin insert into public.calls values ('stable'); return 1; end $$;`);
    const app = await db.client(logged);
    await app.query('select spy() from orders where id = 5');
    await app.query('delete from orders where id = 6 returning spy()');
    await app.query('select id from orders where customer_id = sly()');
    await app.query('declare c cursor with hold for select spy() from orders where id = 7');
    await app.end();
    await db.pool.query('alter function public.sly() stable; truncate public.calls');
    const report = await reportStatements(db.ctx, file(), await preflight(db.ctx.pool, file()));
    expect((await db.pool.query('select * from public.calls')).rows).toEqual([]);
    expect((await db.pool.query('select count(*)::int as n from orders')).rows).toEqual([{ n: 1999 }]);
    expect(report.statements).toHaveLength(4);
    expect(of(report, /sly/).remark).toMatch(/not planned: .*read-only|INSERT is not allowed/);
    expect(of(report, /^declare/).cost.overlay).toBeGreaterThan(0);
  });

  it('doctor prints it, as text and as JSON; without a log, or with a refusal, it says why not', async () => {
    const db = await migrationDatabase(shopSql(2000));
    await inUse(db);
    const folder = await mkdtemp(join(tmpdir(), 'foreshadow-test-statements-'));
    afterFile(() => rm(folder, { recursive: true, force: true }));
    const run = async (document: object, ...flags: string[]) => {
      const path = join(folder, 'migration.json');
      await writeFile(path, JSON.stringify(document));
      const child = foreshadow(db.url, folder, 'doctor', path, '--statements', ...flags);
      return { code: await child.ended, ...child.output };
    };
    const json = await run(file(), '--json');
    expect(json.code, json.stderr).toBe(0);
    const document = JSON.parse(json.stdout) as { schema: number; ok: boolean; statements: StatementsReport };
    expect(document).toMatchObject({ schema: 1, ok: true });
    expect(of(document.statements, /^select \* /).prepared_breaks).toBe(true);
    const text = await run(file());
    expect(text.code, text.stderr).toBe(0);
    expect(text.stdout).toMatch(/41 executions of 17 statements name the table/);
    expect(text.stdout).toMatch(/not through the overlay: FOR UPDATE/);
    expect(text.stdout).toMatch(/it breaks: cached plan must not change result type/);
    expect(text.stdout).toMatch(/SERIALIZABLE: 4\.9 % of the executions/);

    const { queryLog, ...noLog } = file();
    expect(await run(noLog, '--json')).toMatchObject({
      code: 2,
      stdout: expect.stringContaining('queryLog.path'),
    });
    const refused = await run({ ...file(), key: ['customer_id'] });
    expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining('until this is mended') });
  }, 120_000);

  it('the service gives the same report, one at a time, to whoever may operate', async () => {
    const service = await httpRig({ setup: shopSql(50_000) });
    await inUse(service.db);
    const ask = (name: string, as: Who) =>
      service.ask({ method: 'GET', url: `/api/v1/migrations/${name}/statements`, as });
    const planned = await service.ask({ method: 'POST', url: '/api/v1/migrations', payload: file() });
    expect(planned.statusCode, planned.body).toBe(202);
    expect((await ask(file().name, 'reader')).statusCode).toBe(403);
    expect((await ask('none', 'operator')).statusCode).toBe(404);
    const [report, second] = await Promise.all([ask(file().name, 'operator'), ask(file().name, 'operator')]);
    expect(second.json()).toMatchObject({ status: 503, code: 'OVERLOADED' });
    expect(report.statusCode, report.body).toBe(200);
    const { schema, ...document } = report.json();
    expect(schema).toBe(1);
    expect(document.statements).toHaveLength(17);
    expect(of(document, /^select \* /).prepared_breaks).toBe(true);
    expect(document.indexes.length).toBeGreaterThan(0);
  }, 60_000);

  it('a partitioned target, a wide key and a table of the same name elsewhere are no hindrance', async () => {
    const db = await migrationDatabase(`
      create schema other; create table other.s (id int primary key, v int);
      create table s (a int, "B b" text, v int, primary key (a, "B b"));
      insert into s select g, 'b' || g, g % 2000 from generate_series(1, 20000) g; create index on s (v); analyze s;
      create table t (a bigint, "B b" text, v bigint, primary key (a, "B b")) partition by hash (a);
      create table t_0 partition of t for values with (modulus 2, remainder 0);
      create table t_1 partition of t for values with (modulus 2, remainder 1);`);
    const app = await db.client(logged);
    await app.query('select v from other.s where id = 5');
    await app.query('select v from s where a = $1 and "B b" = $2', [5, 'b5']);
    await app.query('select a from s where v = $1', [5]);
    await app.end();
    const migration = migrationOf({
      key: ['a', 'B b'],
      map: { a: 'a::bigint', v: 'v::bigint' },
      queryLog: { path: inject('serverLogGlob') },
    });
    const report = await reportStatements(db.ctx, migration, await preflight(db.ctx.pool, migration));
    expect(report.statements).toHaveLength(2);
    expect(of(report, /B b/)).toMatchObject({
      slow_on_overlay: null,
      error_on_overlay: null,
      prepared_breaks: true,
    });
    expect(of(report, /v = \?$/).advice.map(({ sql }) => sql)).toEqual([
      'create index concurrently on "public"."s" ((("v")::bigint))',
      'create index concurrently on "public"."t" ("v")',
    ]);
  });

  it('a role that runs in SERIALIZABLE is named, and so is a value that the new type does not take', async () => {
    const db = await migrationDatabase(shopSql(2000));
    const role = `strict_${db.name}`;
    await db.pool.query(
      `create role ${role}; alter role ${role} set default_transaction_isolation = serializable`,
    );
    const app = await db.client(logged);
    await app.query("select id from orders where status = 'mislaid'");
    await app.query('select id from orders where status = $1', ['mislaid']);
    await app.end();
    try {
      const report = await reportStatements(db.ctx, file(), await preflight(db.ctx.pool, file()));
      expect(report.serializable.defaults).toEqual([`role ${role}`]);
      const { error_on_overlay, error_after_swap } = of(report, /^select id from orders where status/);
      expect(error_on_overlay).toBe('invalid input value for enum order_status');
      expect(error_after_swap).toBe(error_on_overlay);
      expect(JSON.stringify(report)).not.toContain('mislaid');
    } finally {
      await db.pool.query(`drop role ${role}`);
    }
  });
});

/** Milliseconds that the server takes, the best of three. */
async function measured(m: Rig, text: string, values: unknown[] = []): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    const { rows: plans } = await m.db.pool.query(
      `explain (analyze, timing off, format json) ${text}`,
      values,
    );
    times.push(plans[0]['QUERY PLAN'][0]['Execution Time']);
  }
  return Math.min(...times);
}

/** Half of the rows copied, some of them changed since. */
async function halfWay(): Promise<Rig> {
  const m = await rig({
    setup: shopSql(rows),
    file: file(),
    expected: 'select 1',
    lanes: 1,
    chunkRows: 5000,
  });
  made.push(m);
  return m;
}

describe('what is slow', () => {
  it('every read that is much slower through the overlay is named, before and after the begin; the advised indexes are used', async () => {
    const m = await halfWay();
    await inUse(m.db);
    const before = await reportStatements(m.db.ctx, m.file, await preflight(m.db.ctx.pool, m.file));
    await m.begin();
    await m.claim();
    await m.cutOverReads();
    for (let i = 0; i < 10; i++) await m.tick();
    expect(await m.copied()).toBe(false);
    await m.sql(`update orders set note = 'changed' where id % 500 = 1; analyze ${m.plan.names.target}`);
    const during = await reportStatements(m.db.ctx, m.file, null);
    expect(during.tried_on.overlay).toBe(true);

    let slower = 0;
    for (const [name, read] of Object.entries(shopReads)) {
      const onSource = await measured(m, read.text, read.values);
      const onOverlay = await measured(m, inNewFormat(read.text), read.values);
      const much = onOverlay > 5 * onSource && onOverlay > 2;
      if (!much) continue;
      slower++;
      for (const report of [before, during]) {
        const told = report.statements.find(({ statement }) => statement === read.shape);
        expect(told?.slow_on_overlay, `${name}: ${onSource} ms, ${onOverlay} ms`).toMatch(
          /costs .* times as much/,
        );
      }
    }
    expect(slower).toBeGreaterThan(3);

    // lookups by the key stay as quick as they were, and are not accused
    for (const report of [before, during])
      for (const name of ['by key', 'by key, as text', 'several keys'])
        expect(
          report.statements.find((each) => each.statement === shopReads[name]!.shape)?.slow_on_overlay,
        ).toBe(null);

    const uses = async (read: (typeof shopReads)[string]) => {
      const { rows: plans } = await m.db.pool.query(
        `explain (format json) ${inNewFormat(read.text)}`,
        read.values,
      );
      return JSON.stringify(plans[0]['QUERY PLAN']);
    };
    const wanted = during.indexes.filter(({ why }) => why === 'overlay');
    expect(wanted.length).toBeGreaterThan(1);
    const names = new Map<string, string>();
    for (const [i, { sql }] of wanted.entries()) {
      names.set(sql, `advised_${i}`);
      await m.db.pool.query(sql.replace('concurrently', `concurrently advised_${i}`));
    }
    await m.sql(`analyze orders; analyze ${m.plan.names.target}`);
    for (const { sql, helps } of wanted) {
      const helped = helps.map((i) => during.statements[i]!.statement);
      const plans = await Promise.all(
        Object.values(shopReads)
          .filter(({ shape }) => helped.includes(shape))
          .map(uses),
      );
      expect(
        plans.some((plan) => plan.includes(`"${names.get(sql)}"`)),
        sql,
      ).toBe(true);
    }
  }, 120_000);

  it('SERIALIZABLE transactions on different rows do not collide on the source, and do through the overlay', async () => {
    const m = await rig({
      setup: `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 2000) g; analyze s;
              create table t (id bigint primary key, v int);`,
      file: { map: { id: 'id::bigint' } },
      expected: 'select id::bigint, v from s',
    });
    made.push(m);
    await m.begin();
    const outcome = async (from: string) => {
      const [one, two] = [await m.db.client(), await m.db.client()];
      try {
        for (const client of [one, two]) await client.query('begin isolation level serializable');
        for (const [client, id] of [
          [one, 500],
          [two, 1500],
        ] as const)
          await client.query(`select v from ${from} where id = ${id}`);
        await one.query('update s set v = 0 where id = 501');
        await two.query('update s set v = 0 where id = 1501');
        await one.query('commit');
        await two.query('commit');
        return 'both committed';
      } catch (error) {
        return (error as { code: string }).code;
      } finally {
        for (const client of [one, two]) await client.end();
      }
    };
    expect(await outcome('s')).toBe('both committed');
    expect(await outcome('t')).toBe('40001');
  });
});
