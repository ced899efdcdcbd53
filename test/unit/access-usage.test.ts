import { beforeAll, describe, expect, it } from 'vitest';
import { ShapeCollector } from '../../src/access/statement-shapes.ts';
import { loadParser, type UsageTable, usagesOf } from '../../src/access/usage.ts';
import { withRelation } from '../../src/migration/statements/elsewhere.ts';

beforeAll(() => loadParser());

const table: UsageTable = {
  schema: 'public',
  table: 'orders',
  searchPath: ['public'],
  columns: ['id', 'customer_id', 'status', 'at'],
};
const only = (sql: string) => {
  const found = usagesOf(sql, table);
  expect(found, sql).toHaveLength(1);
  return found![0]!;
};

describe('where a statement names the table', () => {
  it.each([
    ['select * from orders', 'select * from X as "orders"'],
    ['select o.id from public.orders o', 'select o.id from X o'],
    ['select orders.id from "public" . "orders", c', 'select orders.id from X as "orders", c'],
    [
      "select 1 from a join orders using (id) where note = 'orders'",
      'select 1 from a join X as "orders" using (id) where note = \'orders\'',
    ],
    [
      'select (select max(id) from orders) from orders as x',
      'select (select max(id) from X as "orders") from X as x',
    ],
    [
      'update only orders set status = $1 where id = $2',
      'update only X as "orders" set status = $1 where id = $2',
    ],
    [
      'delete from orders using c where c.id = orders.id',
      'delete from X as "orders" using c where c.id = orders.id',
    ],
    [
      'insert into orders (id) values (1) returning id',
      'insert into X as "orders" (id) values (1) returning id',
    ],
    ["select 'ä€😀', id from orders", 'select \'ä€😀\', id from X as "orders"'],
    [
      'with c as (select 1 from orders) select * from c',
      'with c as (select 1 from X as "orders") select * from c',
    ],
    ['select id from orders for update of orders', 'select id from X as "orders" for update of orders'],
    ['declare c cursor for select id from orders', 'declare c cursor for select id from X as "orders"'],
  ])('%s', (sql, expected) => {
    expect(withRelation(only(sql), 'X')).toBe(expected);
  });

  it.each([
    'select * from other.orders',
    "select 'orders'",
    'select orders from c',
    'with orders as (select 1) select * from orders',
    'select * from "Orders"',
    'analyze orders',
    'alter table orders add column x int',
    'explain analyze select * from orders',
  ])('not in: %s', (sql) => {
    expect(usagesOf(sql, table)).toEqual([]);
  });

  it('of several statements in one text, each is one; what cannot be read says so', () => {
    const found = usagesOf("select 'é'; update orders set status = ''; select id from orders;", table);
    expect(found?.map(({ sql, kind }) => [kind, sql])).toEqual([
      ['update', "update orders set status = ''"],
      ['select', 'select id from orders'],
    ]);
    expect(usagesOf('select from where orders', table)).toBe(null);
  });
});

describe('what a view cannot do', () => {
  it.each([
    ['select id from orders', []],
    ['update orders set status = 1', ['write']],
    ['insert into orders (id) values (1)', ['write']],
    ['insert into orders (id) values (1) on conflict do nothing', ['onConflict']],
    ['insert into c select id from orders', []],
    ['delete from orders', ['write']],
    ['delete from orders where current of c', ['write', 'currentOf']],
    ['merge into orders o using c on c.id = o.id when matched then delete', ['merge']],
    ['merge into c using orders o on c.id = o.id when matched then delete', []],
    ['truncate c, orders', ['truncate']],
    ['lock table orders in share mode', ['lockTable']],
    ['copy orders to stdout', ['copy']],
    ['copy (select id from orders) to stdout', []],
    ['select id from orders for no key update skip locked', ['rowLock']],
    ['select o.id from orders o, c for share of c', []],
    ['select o.id from orders o, c for share of o', ['rowLock']],
    ['select xmin, id from orders', ['systemColumn']],
    ['select c.ctid from c, orders', []],
    ['select 1 from orders tablesample bernoulli (1)', ['sample']],
    ['select 1 from orders, c tablesample bernoulli (1)', []],
    ['with gone as (delete from orders returning id) select * from gone', ['write']],
  ])('%s: %j', (sql, expected) => {
    expect(only(sql).obstacles).toEqual(expected);
  });
});

it.each([
  ['prepare p as select id from orders', 'select id from orders', 'prepare'],
  ['PREPARE "a b" (int, numeric(3, 1)) AS select id from orders where id = $1', null, 'prepare'],
  ['prepare p(int) as delete from orders where id = $1', 'delete from orders where id = $1', 'prepare'],
  ['declare c cursor for select id from orders', 'declare c cursor for select id from orders', 'explain'],
  ['create temp table x as select id from orders', 'create temp table x as select id from orders', 'explain'],
  ['truncate orders', 'truncate orders', 'none'],
])('%s is tried as %s, by %s', (sql, tried, planning) => {
  // a type with a comma and parentheses of its own is left alone: what cannot be unwrapped is not looked at
  if (tried === null) expect(usagesOf(sql, table)).toEqual([]);
  else expect(only(sql)).toMatchObject({ sql: tried, planning });
});

it('columns that conditions and orders go by', () => {
  const usage = only(
    `select count(*) from orders o join c on c.id = o.customer_id and c.status = 1
      where o.status = any ($1) and at between $2 and $3 and lower(id::text) > 'a' and (o.id = 1 or o.id = 2)
      group by o.at order by o.at desc, 1`,
  );
  expect(usage).toMatchObject({ equal: ['status', 'customer_id'], range: ['at'], order: ['at'] });
  expect([...usage.decisive].sort()).toEqual(['at', 'customer_id', 'id', 'status']);
});

describe('shapes', () => {
  const statement = (sql: string, more: object = {}) => ({
    at: 0,
    database: 'd',
    user: 'u',
    pid: 1,
    session: 's',
    applicationName: 'app',
    sql,
    params: null,
    truncated: null,
    prepare: null,
    weight: 1,
    ...more,
  });
  const collect = (batch: ReturnType<typeof statement>[], options = {}) => {
    const other = { ...table, table: 'orders_v2' };
    const collector = new ShapeCollector({ source: table, target: other }, { database: 'd', ...options });
    collector.take(batch);
    return collector.shapes();
  };

  it('are counted; other databases, other tables and our own statements are not', () => {
    const found = collect([
      statement('select id from orders where id = 1'),
      statement('select  id from orders where id = 22'),
      statement('select id from orders_v2 where id = $1', { params: ['7'], user: 'v' }),
      statement('select id from orders where id = 3', { database: 'e' }),
      statement('select id from orders where id = 3', { applicationName: 'foreshadow lane' }),
      statement('select 1 from c'),
      statement('select from where orders'),
    ]);
    expect(found).toMatchObject({ executions: 3, looked: 5, unparsed: 1, elsewhere: 0 });
    expect(found.shapes).toMatchObject([
      { shape: 'select id from orders where id = ?', names: 'source', executions: 2, users: ['u'] },
      { shape: 'select id from orders_v2 where id = ?', names: 'target', executions: 1, params: ['7'] },
    ]);
  });

  it('are bounded, and what goes beyond is counted', () => {
    const many = Array.from({ length: 20 }, (_, i) => statement(`select c${i} from orders`));
    const found = collect(many, { maxShapes: 5 });
    expect(found).toMatchObject({ executions: 20, elsewhere: 15 });
    expect(found.shapes).toHaveLength(5);
  });

  it('know which of their executions were in a SERIALIZABLE transaction', () => {
    const read = 'select id from orders where id = 1';
    const strict = (...before: string[]) => {
      const [shape] = collect([...before, read].map((sql) => statement(sql))).shapes;
      return shape?.serializable;
    };
    expect(strict()).toBe(0);
    expect(strict('begin isolation level serializable')).toBe(1);
    expect(strict('START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ WRITE')).toBe(1);
    expect(strict('begin isolation level serializable', 'commit')).toBe(0);
    expect(strict('begin isolation level serializable', 'rollback to savepoint x')).toBe(1);
    expect(strict('begin', 'set transaction isolation level serializable')).toBe(1);
    expect(strict('begin isolation level repeatable read')).toBe(0);
    const session = 'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE';
    expect(strict(session)).toBe(1);
    expect(strict(session, 'begin', 'commit')).toBe(1);
    expect(strict(session, 'begin isolation level read committed')).toBe(0);
    expect(
      strict(
        "set default_transaction_isolation = 'serializable'",
        "set default_transaction_isolation to 'read committed'",
      ),
    ).toBe(0);
    // another session's transaction is none of this one's
    const [shape] = collect([
      statement('begin isolation level serializable', { session: 'other' }),
      statement(read),
    ]).shapes;
    expect(shape?.serializable).toBe(0);
  });
});
