import { describe, expect, test } from 'vitest';
import { type AccessResolverOptions, createAccessResolver, reasons } from '../../src/access/index.ts';

const orders: AccessResolverOptions = {
  schema: 'public',
  table: 'orders',
  key: [{ name: 'id', type: 'bigint' }],
  columns: ['id', 'customer', 'note'],
};
const lines: AccessResolverOptions = {
  schema: 'public',
  table: 'lines',
  key: [
    { name: 'tenant', type: 'integer' },
    { name: 'code', type: 'text' },
  ],
};
const id = (...key: string[]) => JSON.stringify(key);

async function accesses(
  options: AccessResolverOptions,
  sql: string,
  params: (string | null)[] | null = null,
) {
  const resolver = await createAccessResolver(options);
  const found = resolver.resolve({ at: 7, sql, params });
  const text = found.accesses.map(({ op, key, at }) => (at === 7 ? `${op} ${key}` : 'wrong time'));
  return found.outcome === 'resolved' ? text : [...text, found.reason ?? found.outcome];
}

type Case = [sql: string, expected: string[], params?: (string | null)[]];

describe('one key column', () => {
  test.each<Case>([
    // reads
    ['select * from orders where id = 5', ['R 5']],
    ['select * from orders where id = 0', ['R 0']],
    ['select * from orders where id = -5', ['R -5']],
    ['select * from orders where id = - 5', ['R -5']],
    ['select * from orders where id = -5::bigint', ['R -5']],
    ['select * from orders where id = -(-5)', ['R 5']],
    ['select * from orders where id = +5', ['R 5']],
    ['select * from orders where id=5', ['R 5']],
    ['select * from orders where 5 = id', ['R 5']],
    ['select * from orders where ((id) = (5))', ['R 5']],
    ["select * from orders where id = '5'", ['R 5']],
    ["select * from orders where id = ' 005 '", ['R 5']],
    ["select * from orders where id = '5'::int", ['R 5']],
    ["select * from orders where id = cast('5' as bigint)", ['R 5']],
    ["select * from orders where id = bigint '5'", ['R 5']],
    ["select * from orders where id = E'5'", ['R 5']],
    ['select * from orders where id = $$5$$', ['R 5']],
    ['select * from orders where id = 5.0', ['R 5']],
    ['select * from orders where id = 0x10', ['R 16']],
    ['select * from orders where id = 9223372036854775807', ['R 9223372036854775807']],
    ['select * from orders where id = -9223372036854775808', ['R -9223372036854775808']],
    ['select * from orders where id = 12345678901', ['R 12345678901']],
    ["select 'é', 'ü' from orders where id = 5 and note = 'ß'", ['R 5']],
    ['select * from orders where id = $1', ['R 42'], ['42']],
    ['select * from orders where id = $2::bigint and note = $1', ['R 42'], ["it's", '42']],
    ['select * from orders where id = -$1', ['R -42'], ['42']],
    ['select * from orders where id = -$1', ['R 42'], ['-42']],
    ['select * from orders where id = $1', [], [null]],
    ['select * from orders where id = null', []],
    ['select * from orders where id::text = $1', ['R 5'], ['5']],
    ['select * from orders where id is not distinct from 5', ['R 5']],
    ['select * from orders where id operator(pg_catalog.=) 5', ['R 5']],
    ['SELECT * FROM PUBLIC.ORDERS WHERE ID = 5 AND note LIKE $$x%$$ ORDER BY 1 LIMIT 3', ['R 5']],
    ['select * from "public"."orders" o where "o"."id" = 5', ['R 5']],
    ['select o.* from orders as o where o.id = 5 for update', ['R 5']],
    ['select * from public.orders where public.orders.id = 5 for no key update skip locked', ['R 5']],
    ['select * from only orders where id = 5', ['R 5']],
    ['select * from orders tablesample system (10) where id = 5', ['R 5']],
    // lists
    ['select * from orders where id in (1)', ['R 1']],
    ['select * from orders where id in (1, 2, 0, -3, 2)', ['R 1', 'R 2', 'R 0', 'R -3']],
    ["select * from orders where id in ('1'::bigint, '2'::bigint)", ['R 1', 'R 2']],
    ['select * from orders where id in ($1,$2,$3)', ['R 7', 'R 9'], ['7', null, '9']],
    ['select * from orders where id in (1, $1, 1+1)', [reasons.computed], ['7']],
    ['select * from orders where id = any($1)', ['R 1', 'R 2'], ['{1,2,NULL}']],
    ['select * from orders where id = any($1::bigint[])', ['R 1', 'R 2'], ['{"1","2"}']],
    ["select * from orders where id = any('{1,-2}'::int[])", ['R 1', 'R -2']],
    ['select * from orders where id = any(array[1,2,3])', ['R 1', 'R 2', 'R 3']],
    ['select * from orders where id = any(array[$1,$2]::bigint[])', ['R 1', 'R 2'], ['1', '2']],
    ["select * from orders where id = any('{}')", []],
    ['select * from orders where id = any($1)', [reasons.badValue], ['{{1},{2}}']],
    // logic
    ['select * from orders where id = 1 or id = 2', ['R 1', 'R 2']],
    ['select * from orders where (id = 1 or id in (2,3)) and customer = 4', ['R 1', 'R 2', 'R 3']],
    ['select * from orders where id = 1 and id in (1,2)', ['R 1']],
    ['select * from orders where id = 1 or customer = 2', [reasons.or]],
    ['select * from orders where (id = 1 and customer = 3) or (id = 2 and note is null)', ['R 1', 'R 2']],
    ['select * from orders where not id = 1', [reasons.negated]],
    ['select * from orders where id <> 1', [reasons.negated]],
    ['select * from orders where id not in (1,2)', [reasons.negated]],
    ['select * from orders where id <> any(array[1,2])', [reasons.negated]],
    ['select * from orders where id > 1', [reasons.range]],
    ['select * from orders where id between 1 and 2', [reasons.range]],
    ['select * from orders where customer = 1', [reasons.noKey]],
    ['select * from orders', [reasons.wholeTable]],
    ['table orders', [reasons.wholeTable]],
    ['select * from orders where id = customer', [reasons.computed]],
    ['select * from orders where id = f(1)', [reasons.computed]],
    ['select * from orders where id in (select 1)', [reasons.subquery]],
    ['select * from orders where id % 10 = 1', [reasons.computed]],
    // values that are none
    ["select * from orders where id = 'x'", [reasons.badValue]],
    ['select * from orders where id = 5.5', [reasons.badValue]],
    ['select * from orders where id = 9223372036854775808', [reasons.badValue]],
    ["select * from orders where id = U&'5'", [reasons.oddLiteral]],
    ['select * from orders where id = $1', [reasons.noParameters]],
    ['select * from orders where id = $2', [reasons.noParameters], ['1']],
    ['select * from orders where id = $1', [reasons.cutParameter], ['12...']],
    ['select * from orders where id = any($1)', [reasons.cutParameter], ['{1,2...']],
    // joins, subqueries, set operations, CTEs
    ['select * from orders o join customers c on c.id = o.customer where o.id = 5', ['R 5']],
    ['select * from customers c join orders o on c.id = o.customer and o.id = 5', ['R 5']],
    ['select * from customers c left join orders o on o.id = 5', ['R 5']],
    ['select * from orders o left join customers c on o.id = 5', [reasons.wholeTable]],
    ['select * from customers c right join orders o on o.id = 5', [reasons.wholeTable]],
    ['select * from customers c, orders o where o.id = 5 and c.id = 6', ['R 5']],
    ['select * from customers c, orders o where c.id = 6 and o.customer = c.id', [reasons.noKey]],
    ['select * from orders a, orders b where a.id = 5 and b.id = 6', ['R 5', 'R 6']],
    [
      'select * from orders where id in (1,2) union all select * from orders where id = 3',
      ['R 1', 'R 2', 'R 3'],
    ],
    ['select * from (select * from orders where id = 5) x', ['R 5']],
    [
      'select (select note from orders where id = $1), exists (select from orders where id = 6)',
      ['R 5', 'R 6'],
      ['5'],
    ],
    ['select * from customers where id = (select customer from orders where id = 5)', ['R 5']],
    ['with x as (select * from orders where id = 5) select * from x', ['R 5']],
    ['with orders as (select 1 as id) select * from orders where id = 5', ['other']],
    ['with orders as (select * from orders where id = 4) select * from orders where id = 5', ['R 4']],
    ['with x as (delete from orders where id = 5 returning *) insert into old select * from x', ['W 5']],
    ['select * from lateral (select * from orders where orders.id = 5) y', ['R 5']],
    // writes
    ['update orders set note = $1 where id = $2', ['W 5'], ['n', '5']],
    ["update orders o set note = '7' where o.id in (1,2)", ['W 1', 'W 2']],
    ['update orders set id = 6 where id = 5', ['W 5', 'W 6']],
    ['update orders set id = $1, note = $2 where id = $1', ['W 5'], ['5', 'x']],
    ['update orders set (note, id) = ($1, 6) where id = 5', ['W 5', 'W 6'], ['x']],
    ['update orders set id = id where id = 5', ['W 5']],
    ['update orders set id = id + 1 where id = 5', ['W 5', reasons.newKey]],
    ['update orders set note = 1', [reasons.wholeTable]],
    ['update orders set note = c.name from customers c where c.id = 1 and orders.id = 5', ['W 5']],
    ['update customers set n = 1 from orders o where o.id = 5 and o.customer = customers.id', ['R 5']],
    ['update customers set n = (select count(*) from orders where id = 5)', ['R 5']],
    ['delete from orders where id = 5 returning *', ['W 5']],
    ['delete from orders using customers c where orders.id = 5', ['W 5']],
    ['delete from orders', [reasons.wholeTable]],
    ['insert into orders (id, note) values (5, $1)', ['W 5'], ['x']],
    ['insert into orders (note, id) values ($1, 5), ($2, 6)', ['W 5', 'W 6'], ['x', 'y']],
    ['insert into orders (id, note) values ($1,$2),($3,$4)', ['W 1', 'W 3'], ['1', 'a', '3', 'b']],
    ['insert into orders (id, note) values (1, now()), (2, default)', ['W 1', 'W 2']],
    ['insert into orders (id) values (1), (default), (f(2))', ['W 1', reasons.generated]],
    [
      'insert into orders values (5, 6, $1) on conflict (id) do update set note = excluded.note',
      ['W 5'],
      ['x'],
    ],
    ['insert into orders (note) values ($1)', [reasons.generated], ['x']],
    ['insert into orders default values', [reasons.generated]],
    ['insert into orders (id) values (nextval($$s$$))', [reasons.computed]],
    ['insert into orders (id) select id from customers', [reasons.insertSelect]],
    ['insert into customers select customer from orders where id = 5', ['R 5']],
    ['insert into customers values (1, (select note from orders where id = 5))', ['R 5']],
    ['merge into orders o using customers c on o.id = 5 when matched then delete', [reasons.merge]],
    ['merge into customers o using orders c on o.id = 5 when matched then delete', [reasons.merge]],
    // the rest
    ['copy orders from stdin', [reasons.copy]],
    ['copy (select * from orders where id = 5) to stdout', ['R 5']],
    ['truncate customers, orders', [reasons.truncate]],
    ['execute foo(5)', [reasons.execute]],
    ['call p()', [reasons.routine]],
    ['do $$ begin end $$', [reasons.routine]],
    ['explain select * from orders where id = 5', ['other']],
    ['explain (analyze) select * from orders where id = 5', ['R 5']],
    ['declare c cursor for select * from orders where id = 5', ['R 5']],
    ['prepare foo as select * from orders where id = 5', ['other']],
    ['begin', ['other']],
    ['set application_name = $$orders$$', ['other']],
    ['select * from customers where id = 5', ['other']],
    ['select * from archive.orders where id = 5', ['other']],
    ['select orders from customers where id = 5', ['other']],
    ['alter table orders add x int', ['other']],
    ['vacuum orders', ['other']],
    ['', ['other']],
    ['-- nothing', ['other']],
    ['selct * from orders', [reasons.unparsed]],
    ['selct * from customers', ['other']],
    [
      'begin; update orders set note = $$a$$ where id = 5; select * from orders where id = 5; commit',
      ['W 5', 'R 5'],
    ],
    ['select * from orders where id = 1; select * from orders', ['R 1', reasons.wholeTable]],
  ])('%s', async (sql, expected, params) => {
    expect(await accesses(orders, sql, params)).toEqual(expected);
  });
});

describe('a composite key', () => {
  test.each<Case>([
    ["select * from lines where tenant = 1 and code = 'a'", [`R ${id('1', 'a')}`]],
    [
      "select * from lines l where l.code = 'it''s' and note = 3 and l.tenant = $1",
      [`R ${id('4', "it's")}`],
      ['4'],
    ],
    ["select * from lines where (tenant, code) = (1, 'a')", [`R ${id('1', 'a')}`]],
    ["select * from lines where (code, note, tenant) = ('a', 5, 1)", [`R ${id('1', 'a')}`]],
    [
      "select * from lines where (tenant, code) in ((1,'a'), (2,'b'))",
      [`R ${id('1', 'a')}`, `R ${id('2', 'b')}`],
    ],
    [
      'select * from lines where (tenant, code) in (($1,$2),($3,$4))',
      [`R ${id('1', 'a')}`, `R ${id('2', 'b')}`],
      ['1', 'a', '2', 'b'],
    ],
    [
      "select * from lines where (tenant, code) = any(array[(1,'a'),(2,'b')])",
      [`R ${id('1', 'a')}`, `R ${id('2', 'b')}`],
    ],
    [
      "select * from lines where tenant = 1 and code in ('a','b')",
      [`R ${id('1', 'a')}`, `R ${id('1', 'b')}`],
    ],
    [
      "select * from lines where tenant in (1,2) and code in ('a','b')",
      ['1', '2'].flatMap((t) => ['a', 'b'].map((c) => `R ${id(t, c)}`)),
    ],
    [
      'select * from lines where tenant = 1 and code = any($1)',
      [`R ${id('1', 'a b')}`, `R ${id('1', '"')}`],
      ['{"a b","\\""}'],
    ],
    [
      "select * from lines where (tenant = 1 and code = 'a') or (tenant = 2 and code = 'b')",
      [`R ${id('1', 'a')}`, `R ${id('2', 'b')}`],
    ],
    [
      "select * from lines where tenant = 1 and (code = 'a' or code = 'b')",
      [`R ${id('1', 'a')}`, `R ${id('1', 'b')}`],
    ],
    ["select * from lines where tenant = 1 and (code = 'a' or note = 2)", [reasons.or]],
    ['select * from lines where tenant = 1', [reasons.partOfKey]],
    ["select * from lines where tenant = 1 and code > 'a'", [reasons.range]],
    ["select * from lines where (tenant, code) > (1,'a')", [reasons.range]],
    [
      "update lines set code = 'b' where tenant = 1 and code = 'a'",
      [`W ${id('1', 'a')}`, `W ${id('1', 'b')}`],
    ],
    [
      "insert into lines (code, n, tenant) values ('a', 1, 2), ('b', 3, 4)",
      [`W ${id('2', 'a')}`, `W ${id('4', 'b')}`],
    ],
    ["insert into lines values ('a', 1, 2)", [reasons.noColumns]],
    ['insert into lines (tenant, n) values (1, 2)', [reasons.generated]],
  ])('%s', async (sql, expected, params) => {
    expect(await accesses(lines, sql, params)).toEqual(expected);
  });
});

test.each<[type: string, literal: string, key: string | undefined]>([
  ['uuid', "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['uuid', "'{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}'", 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['uuid', "'a0eebc999c0b4ef8bb6d6bb9bd380a11'::uuid", 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['uuid', "'a0eebc99'", undefined],
  ['text', "' A '", ' A '],
  ['character varying(10)', "E'a\\tb\\u00e9\\x41\\101\\\\'", 'a\tbéAA\\'],
  ['text', "E'\\xc3\\xa9'", undefined],
  ['text', "$x$it's$x$", "it's"],
  ['text', "'12...'", '12...'],
  ['numeric(10,2)', "' 1.50 '", '1.50'],
  ['smallint', '32767', '32767'],
  ['smallint', '32768', undefined],
  ['integer', "'1_000'", '1000'],
  ['date', "'2026-01-02'", '2026-01-02'],
])('a key of type %s given as %s', async (type, literal, key) => {
  const options = { schema: 'public', table: 't', key: [{ name: 'k', type }] };
  const found = await accesses(options, `select * from t where k = ${literal}`);
  expect(found[0]).toBe(key === undefined ? found.at(-1) : `R ${key}`);
  expect(found).toHaveLength(1);
});

test('quoted names, other schemas, the search path', async () => {
  const odd = {
    schema: 'My App',
    table: 'Order "x"',
    key: [{ name: 'Id', type: 'integer' }],
    searchPath: ['My App'],
  };
  expect(await accesses(odd, 'select * from "Order ""x""" where "Id" = 1')).toEqual(['R 1']);
  expect(await accesses(odd, 'select * from "My App"."Order ""x""" q where q."Id" = 1')).toEqual(['R 1']);
  expect(await accesses(odd, 'select * from "Order ""x""" where id = 1')).toEqual([reasons.noKey]);
  expect(await accesses({ ...odd, searchPath: ['public'] }, 'delete from "Order ""x"""')).toEqual(['other']);
  expect(
    await accesses({ ...odd, searchPath: ['public'] }, 'delete from "My App"."Order ""x""" where "Id"=3'),
  ).toEqual(['W 3']);
});

test('statistics: what was resolved, and what was not, by shape', async () => {
  const resolver = await createAccessResolver({ ...orders, maxShapes: 2 });
  const run = (sql: string) => resolver.resolve({ at: 0, sql, params: null });
  for (let i = 0; i < 50; i++)
    run(`select * from orders where id in (${Array.from({ length: i + 1 }, (_, k) => k)})`);
  for (let i = 0; i < 20; i++) run(`select * from orders where id > ${i}`);
  for (let i = 0; i < 30; i++) run(`select * from orders where customer = ${i}`);
  for (let i = 0; i < 10; i++) run(`select * from customers where id = ${i}`);
  run('delete from orders');
  expect(resolver.statistics()).toEqual({
    executions: 111,
    resolved: 50,
    unresolved: 51,
    other: 10,
    accesses: 1275,
    unresolvedShapes: [
      { shape: 'select * from orders where customer = ?', count: 30, reason: reasons.noKey },
      { shape: 'select * from orders where id > ?', count: 20, reason: reasons.range },
    ],
    unresolvedElsewhere: 1,
    parses: 5,
  });
});

test('a plan that fell out of the cache is made again', async () => {
  const resolver = await createAccessResolver({ ...orders, maxPlans: 2 });
  for (const column of ['a', 'b', 'c', 'a']) {
    const found = resolver.resolve({ at: 0, sql: `select ${column} from orders where id = 5`, params: null });
    expect(found.accesses).toEqual([{ key: '5', op: 'R', at: 0 }]);
  }
  expect(resolver.statistics().parses).toBe(4);
});

test('two long lists for the same column are refused, not multiplied', async () => {
  const list = Array.from({ length: 2000 }, (_, k) => k).join();
  expect(await accesses(orders, `select * from orders where id in (${list}) and id in (${list})`)).toEqual([
    reasons.tooMany,
  ]);
});
