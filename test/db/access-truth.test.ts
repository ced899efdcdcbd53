import type { Client } from 'pg';
import { beforeAll, expect, test } from 'vitest';
import { columnsAndKey, surroundingsOf } from '../../src/access/catalogue.queries.ts';
import { type AccessResolver, createAccessResolver } from '../../src/access/index.ts';
import { seededRng } from '../../src/core/rng.ts';
import { type TestDatabase, testDatabase } from '../support/database.ts';
import { describeOlder, olderServer } from '../support/older-server.ts';

/**
 * Random statements, of which the server says itself which rows they look at: the keys for which their conditions on the
 * key hold, whatever else they ask for. A plan may leave a statement open. What it calls resolved has exactly these keys,
 * of those that exist.
 */
const tables = `
  create table orders (id int primary key, a int, note text);
  create table lines (tenant int, code text, n int, primary key (tenant, code));
  create table items (no int primary key, order_id int, x int);
  insert into orders select i, (i * 7) % 20, 'n' || i from generate_series(0, 19) i;
  insert into lines select t, c, 0 from generate_series(0, 4) t, unnest(array['a', 'b', 'c', '05', '5']) c;
  insert into items select i, i % 20, i from generate_series(0, 59) i;
  create view plain as select id as k, note from orders;
  create view joined as select o.id, i.x from items i join orders o on o.id = i.order_id;
  create view stacked as select k + 0 as computed, k from plain where note is not null;`;

interface Made {
  readonly sql: string;
  /** a query for the keys, each column as text */
  readonly truth: string;
  readonly table?: 'lines';
}

class Grammar {
  private readonly rng: () => number;
  params: (string | null)[] = [];

  constructor(seed: number) {
    this.rng = seededRng(seed);
  }

  below(n: number): number {
    return Math.floor(this.rng() * n);
  }

  pick<T>(...choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** a value of the key: mostly one that there is */
  value(type = 'int'): string {
    const text = this.rng() < 0.9 ? String(this.below(20)) : this.pick('-3', '77', '2147483647');
    if (this.rng() < 0.3) {
      this.params.push(this.rng() < 0.05 ? null : text);
      return `$${this.params.length}::${type}`;
    }
    return this.pick(
      text,
      text,
      text,
      `'${text}'`,
      `'${text}'::int`,
      `${text}::bigint`,
      `(${text})`,
      `+${text}`,
    );
  }

  /** [in the statement, for the truth] */
  atom(id: string, other: string): [string, string] {
    const v = () => this.value();
    const list = (n: number) => Array.from({ length: n }, v).join(', ');
    const plain = () => String(this.below(20));
    const same = (sql: string): [string, string] => [sql, sql];
    const filter = (sql: string): [string, string] => [sql, 'true'];
    switch (this.below(22)) {
      case 0:
      case 1:
      case 2:
        return same(`${id} = ${v()}`);
      case 3:
        return same(`${v()} = ${id}`);
      case 4:
      case 5:
        return same(`${id} in (${list(1 + this.below(4))})`);
      case 6:
        return same(`${id} = any('{${plain()},${plain()},NULL}')`);
      case 7:
        return same(`${id} = any(array[${list(1 + this.below(3))}]::int[])`);
      case 8:
        return same(`${id} between ${v()} and ${v()}`);
      case 9:
        return same(`${id} ${this.pick('>', '>=')} ${v()}`);
      case 10:
        return same(`${id} ${this.pick('<', '<=')} ${v()}`);
      case 11:
        return same(`(${v()} < ${id} and ${id} <= ${v()})`);
      case 12:
        return same(`${id} in (values (${v()}::int), (${v()}))`);
      case 13:
        return same(`${id}::text = ${this.pick("'5'", "'05'", "' 5'", "'12'")}`);
      case 14:
        return same(`${id} is not distinct from ${v()}`);
      case 15: {
        const [k, x] = [v(), plain()];
        return [`(${id}, ${other}) = (${k}, ${x})`, `${id} = ${k}`];
      }
      case 16:
        return same(`${id} = any(select unnest('{${plain()},${plain()}}'::int[]))`);
      case 17:
        return filter(`${other} ${this.pick('=', '>', '<>')} ${plain()}`);
      case 18:
        return filter(`not (${id} = ${plain()})`);
      case 19:
        return filter(
          this.pick(`${id} % 3 = 1`, `${id} = ${other} + 0`, `${id} <> ${plain()}`, `${id} + 0 = ${plain()}`),
        );
      case 20:
        return filter(`${id} in (select order_id from items where x < ${plain()})`);
      default:
        return filter(`${other} is not null`);
    }
  }

  condition(id: string, other: string, depth = 2): [string, string] {
    if (depth === 0 || this.rng() < 0.4) return this.atom(id, other);
    const word = this.rng() < 0.65 ? 'and' : 'or';
    const parts = Array.from({ length: 2 + this.below(2) }, () => this.condition(id, other, depth - 1));
    const join = (k: 0 | 1) => `(${parts.map((part) => part[k]).join(` ${word} `)})`;
    return [join(0), join(1)];
  }

  statement(): Made {
    this.params = [];
    const [sql, truth] = this.condition('orders.id', 'orders.a');
    const [o, ot] = this.condition('o.id', 'o.a');
    const [bare, bareTruth] = this.condition('id', 'a');
    const keys = (from: string, where: string) => `select orders.id::text from ${from} where ${where}`;
    const [v, w] = [this.value(), this.value()];
    switch (this.below(25)) {
      case 0:
        return { sql: `select * from orders where ${bare} order by a`, truth: keys('orders', bareTruth) };
      case 1:
        return {
          sql: `select o.note from public.orders as o where ${o}`,
          truth: `select o.id::text from orders o where ${ot}`,
        };
      case 2:
        return { sql: `update orders set note = 'x' where ${sql}`, truth: keys('orders', truth) };
      case 3:
        return {
          sql: `delete from only public.orders o where ${o} returning *`,
          truth: `select o.id::text from orders o where ${ot}`,
        };
      case 4:
        return {
          sql: `select * from items i join orders o on i.order_id = o.id where ${o.replaceAll('o.id', 'i.order_id')}`,
          truth: `select o.id::text from items i join orders o on i.order_id = o.id where ${ot.replaceAll('o.id', 'i.order_id')}`,
        };
      case 5:
        return {
          sql: `update items i set x = 1 from orders o where o.id = i.order_id and ${o}`,
          truth: `select o.id::text from orders o where ${ot}`,
        };
      case 6:
        return {
          sql: `select * from orders join (values (${v}::int, 'a'), (${w}, 'b')) v(k, t) on v.k = orders.id and ${sql}`,
          truth: keys(`orders join (values (${v}::int), (${w})) v(k) on v.k = orders.id`, truth),
        };
      case 7:
        return {
          sql: `update orders set note = t from unnest('{1,2,7}'::int[], '{a,b,c}'::text[]) u(k, t) where id = k and ${sql}`,
          truth: keys("orders join unnest('{1,2,7}'::int[]) u(k) on id = k", truth),
        };
      case 8:
        return {
          sql: `select * from plain o where ${o.replaceAll('o.id', 'o.k').replaceAll('o.a', 'length(o.note)')}`,
          truth: `select o.id::text from orders o where ${ot.replaceAll('o.a', 'length(o.note)')}`,
        };
      case 9:
        return {
          sql: `select * from joined o where ${o.replaceAll('o.a', 'o.x')}`,
          truth: `select o.id::text from orders o where ${ot}`,
        };
      case 10:
        return {
          sql: `select computed from stacked s where ${o.replaceAll('o.id', 's.k').replaceAll('o.a', 's.computed')}`,
          truth: `select o.id::text from orders o where ${ot}`,
        };
      case 11:
        return {
          sql: `select * from (select id as k, a from orders where ${sql}) x where x.k = ${v}`,
          truth: keys('orders', `${truth} and id = ${v}`),
        };
      case 12:
        return {
          sql: `with c as (select id from orders where ${sql}) select count(*) from c`,
          truth: keys('orders', truth),
        };
      case 13:
        return {
          sql: `with v(k) as (values (${v}::int), (${w})) delete from orders using v where k = id`,
          truth: keys('orders', `id in (${v}, ${w})`),
        };
      case 14:
        return {
          sql: `merge into orders o using (values (${v}::int, 'm')) s(k, t) on s.k = o.id when matched then update set note = t when not matched then insert (id, note) values (s.k, t)`,
          truth: keys('orders', `id = ${v}`),
        };
      case 15:
        return {
          sql: `select * from items where order_id = (select max(id) from orders where ${sql})`,
          truth: keys('orders', truth),
        };
      case 16:
        return {
          sql: `select id from orders where id in (${v}, ${w}) limit ${this.pick('1', '2', '5')}`,
          truth: keys('orders', `id in (${v}, ${w})`),
        };
      case 17:
        return {
          sql: `select * from items i left join orders o on o.id = i.order_id and ${o}`,
          truth: `select o.id::text from orders o where ${ot}`,
        };
      case 18:
        return {
          sql: `select id from orders where ${sql} union all select order_id from items where x = 3`,
          truth: keys('orders', truth),
        };
      case 19:
        return {
          sql: `select * from items join orders using (no_such) where ${sql}`
            .replace('no_such', 'a')
            .replace('items', '(select x as a from items) i'),
          truth: keys('orders', truth),
        };
      default:
        return this.composite();
    }
  }

  private composite(): Made {
    const tenant = () => String(this.below(6));
    const code = () => this.pick("'a'", "'b'", "'05'", "'5'", "'zz'", "E'c'", "'a'::text");
    const atom = (): [string, string] => {
      const [t, c] = [tenant(), code()];
      switch (this.below(9)) {
        case 0:
          return [`tenant = ${t}`, `tenant = ${t}`];
        case 1:
          return [`code = ${c}`, `code = ${c}`];
        case 2:
          return [`(tenant, code) = (${t}, ${c})`, `(tenant, code) = (${t}, ${c})`];
        case 3: {
          const sql = `(code, tenant) in ((${c}, ${t}), (${code()}, ${tenant()}), (${code()}, ${tenant()}))`;
          return [sql, sql];
        }
        case 4:
          return [`code in (${c}, ${c}, 'c')`, `code in (${c}, 'c')`];
        case 5:
          return [`tenant between ${t} and ${tenant()}`, 'true'];
        case 6: {
          const sql = `(tenant, code) in (values (${t}, ${c}), (${tenant()}, ${code()}))`;
          return [sql, sql];
        }
        case 7:
          return ['n = 0', 'true'];
        default:
          return [`tenant = any('{${t},${tenant()}}')`, `tenant = any('{${t}}')`];
      }
    };
    const parts: [string, string][] = [];
    for (let k = 2 + this.below(2); k > 0; k--) {
      const [sql, truth] = atom();
      // the truth is the condition itself, but for filters
      parts.push([sql, truth === 'true' && sql.startsWith('n') ? 'true' : sql]);
    }
    const join = (k: 0 | 1) => parts.map((part) => part[k]).join(' and ');
    const truth = `select tenant::text, code from lines where ${join(1)}`;
    const sql = this.pick(
      `select * from lines where ${join(0)}`,
      `update lines set n = 1 where ${join(0)}`,
      `select * from lines l(tenant, code, n) where ${join(0)}`,
    );
    return { sql, truth, table: 'lines' };
  }
}

let database: TestDatabase;
let client: Client;
const resolvers = new Map<string, AccessResolver>();

beforeAll(async () => {
  database = await testDatabase();
  await database.pool.query(tables);
  client = await database.client();
  for (const table of ['orders', 'lines']) {
    const target = { schema: 'public', table, ...(await columnsAndKey(database.pool, 'public', table)) };
    const around = await surroundingsOf(database.pool, 'public', table);
    resolvers.set(table, await createAccessResolver({ ...target, ...around }));
  }
});

async function keysBy(truth: string, params: (string | null)[]): Promise<string[]> {
  const used = [...truth.matchAll(/\$(\d+)/g)].map((match) => Number(match[1]));
  // the truth may leave parameters out: number them anew
  const numbers = [...new Set(used)].sort((a, b) => a - b);
  const text = truth.replace(/\$(\d+)/g, (_, n) => `$${numbers.indexOf(Number(n)) + 1}`);
  const { rows } = await client.query<string[]>({
    text,
    values: numbers.map((n) => params[n - 1]),
    rowMode: 'array',
  } as never);
  return [
    ...new Set(rows.map((row) => (row.length === 1 ? (row[0] as string) : JSON.stringify(row)))),
  ].sort();
}

test('what a plan calls resolved is what the server looks at', async () => {
  const grammar = new Grammar(5);
  const existing = {
    orders: new Set(await keysBy('select id::text from orders', [])),
    lines: new Set(await keysBy('select tenant::text, code from lines', [])),
  };
  let [resolved, found] = [0, 0];
  for (let i = 0; i < 1500; i++) {
    const { sql, truth, table = 'orders' } = grammar.statement();
    const params = grammar.params.slice(
      0,
      Math.max(0, ...[...sql.matchAll(/\$(\d+)/g)].map((match) => Number(match[1]))),
    );
    const where = `${sql}\n${JSON.stringify(params)}`;
    // is it a statement at all?
    await client.query('begin');
    await client.query(`explain ${sql}`, params).catch((error: Error) => {
      // a parameter that the statement leaves out has no type; everything else is a fault of the grammar
      if (!error.message.includes('could not determine data type'))
        throw new Error(`${error.message}: ${where}`);
    });
    await client.query('rollback');
    const resolution = (resolvers.get(table) as AccessResolver).resolve({
      at: 0,
      sql,
      params: params.length > 0 ? params : null,
    });
    if (resolution.outcome !== 'resolved') {
      expect(resolution.outcome, where).toBe('unresolved');
      continue;
    }
    resolved++;
    const keys = resolution.accesses.map(({ key }) => key).filter((key) => existing[table].has(key));
    found += keys.length;
    expect([...new Set(keys)].sort(), where).toEqual(await keysBy(truth, params));
  }
  expect(resolved).toBeGreaterThan(600);
  expect(found).toBeGreaterThan(1000);
}, 120_000); // three round trips for each of 1,500 statements

/** How the catalogue speaks of the table: views, routines, search paths. */
async function catalogueTells(db: TestDatabase): Promise<void> {
  await db.pool.query(`
    create schema app; create schema archive; create role "shop ${db.name}";
    create table app.orders (id int primary key, n int); create table archive.orders (id int);
    create view app.some as select id as k from app.orders; create view public.stacked as select k from app.some;
    create function app.direct() returns void language plpgsql as 'begin update app.orders set n = 1; end';
    create function app.indirect() returns void language sql as 'select app.direct()';
    create function app.body() returns bigint language sql begin atomic select count(*) from app.orders; end;
    create function app.other() returns int language sql as 'select 1';
    create procedure app.proc() language sql as 'delete from app.orders';
    alter role "shop ${db.name}" set search_path = 'app', public;
    alter database ${db.name} set search_path = archive, app`);
  const { views, routines, searchPath, searchPathOf, namesakes } = await surroundingsOf(
    db.pool,
    'app',
    'orders',
  );
  expect(views.map(({ schema, name }) => `${schema}.${name}`)).toEqual(['app.some', 'public.stacked']);
  expect([...routines].sort()).toEqual(['body', 'direct', 'indirect', 'proc']);
  expect(searchPath).toEqual(['archive', 'app']);
  expect(searchPathOf.get(`shop ${db.name}`)).toEqual(['app', 'public']);
  expect(namesakes).toEqual(['archive']);
  await db.pool.query(`drop role "shop ${db.name}"`);
}

test('the catalogue tells of views, routines and search paths', async () => {
  await catalogueTells(await testDatabase());
});

describeOlder('on an older server', () => {
  test('the catalogue tells the same', async () => {
    await catalogueTells(await testDatabase(await olderServer()));
  });
});
