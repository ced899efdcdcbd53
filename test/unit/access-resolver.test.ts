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
  const truncated = params?.flatMap((text, k) => (text?.endsWith('...') ? [k] : [])) ?? [];
  const found = resolver.resolve({ at: 7, sql, params, truncated: truncated.length > 0 ? truncated : null });
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
    ['select * from orders where id between 1 and 2', ['R 1', 'R 2']],
    ['select * from orders where id between $1 and $2', ['R 9', 'R 10'], ['9', '10']],
    ['select * from orders where id between 2 and 1', []],
    ['select * from orders where id between symmetric 2 and 1', [reasons.range]],
    ['select * from orders where id not between 1 and 2', [reasons.range]],
    ['select * from orders where id >= 1 and id < 3 and note is null', ['R 1', 'R 2']],
    ['select * from orders where 3 > id and 1 <= id', ['R 1', 'R 2']],
    ['select * from orders where id > -2 and id < 0 or id = 7', ['R -1', 'R 7']],
    ['select * from orders where id in (1, 5, 9) and id > 4', ['R 5', 'R 9']],
    ['select * from orders where id between 1 and 1000 and id = 5', ['R 5']],
    ['select * from orders where id between 1 and 1001', [reasons.wideRange]],
    ['select * from orders where id between $1 and 5', [], [null]],
    ['select * from orders where id between 1.5 and 5', [reasons.badValue]],
    ['select * from orders where id < 3', [reasons.range]],
    ['select * from orders where customer = 1', [reasons.noKey]],
    ['select * from orders', [reasons.wholeTable]],
    ['table orders', [reasons.wholeTable]],
    ['select * from orders where id = customer', [reasons.computed]],
    ['select * from orders where id = f(1)', [reasons.computed]],
    ['select * from orders where id in (select 1)', ['R 1']],
    ['select * from orders where id in (select customer from customers)', [reasons.subquery]],
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
    ['merge into orders o using customers c on o.id = 5 when matched then delete', ['W 5']],
    ['merge into orders o using customers c on o.id = c.oid when matched then delete', [reasons.computed]],
    ['merge into customers o using orders c on o.id = 5 when matched then delete', [reasons.wholeTable]],
    [
      'merge into orders o using (values ($1::int, $2), ($3, $4)) v(id, note) on o.id = v.id ' +
        'when matched then update set note = v.note when not matched then insert (id, note) values (v.id, v.note)',
      ['W 1', 'W 2'],
      ['1', 'a', '2', 'b'],
    ],
    [
      'merge into orders o using (select $1 as id) v on v.id = o.id when not matched then insert (id) values ($2)',
      ['W 1', reasons.computed],
      ['1', '2'],
    ],
    [
      'merge into orders using (select 5 as id) v using_ on true when matched then delete',
      [reasons.unparsed],
    ],
    [
      'merge into orders o using (select 5 as id) v on v.id = o.id when matched then delete ' +
        'when not matched by source then delete',
      ['W 5', reasons.wholeTable],
    ],
    // constants in FROM
    ['select * from orders o join (values (1), (2)) v(id) on o.id = v.id', ['R 1', 'R 2']],
    [
      "update orders o set note = v.n from (values (1, 'a'), (2, 'b')) v(k, n) where o.id = v.k",
      ['W 1', 'W 2'],
    ],
    ["update orders set note = v.n from (values (1, 'a'), (2, null)) v(k, n) where id = k", ['W 1', 'W 2']],
    [
      'update orders o set note = u.n from unnest($1::int[], $2::text[]) as u(id, n) where u.id = o.id',
      ['W 3', 'W 4'],
      ['{3,4}', '{a,b}'],
    ],
    ['delete from orders using unnest($1::bigint[]) k where id = k', ['W 3'], ['{3}']],
    [
      'with v(id, n) as (values ($1::int, $2)) update orders set note = v.n from v where orders.id = v.id',
      ['W 3'],
      ['3', 'x'],
    ],
    ['with v as (values (1)) select * from orders join v w(id) on orders.id = w.id', [reasons.computed]],
    ['select * from orders where id in (values (1), (2))', ['R 1', 'R 2']],
    ['select * from orders where id in (select unnest($1::int[]))', ['R 1', 'R 2'], ['{1,2}']],
    ['select * from orders where id = any(select * from unnest($1::int[]))', ['R 1'], ['{1}']],
    ['select * from orders where id not in (values (1), (2))', [reasons.negated]],
    ['select * from orders o join (values (1), (2)) v(id) on o.id > v.id', [reasons.range]],
    ['select * from orders o left join (values (1), (2)) v(id) on o.id = v.id', [reasons.wholeTable]],
    ['select * from orders o join (values (1), (id + 2)) v(id) on o.id = v.id', [reasons.computed]],
    [
      'insert into orders (id, note) select * from unnest($1::bigint[], $2::text[])',
      ['W 8', 'W 9'],
      ['{8,9}', '{a,b}'],
    ],
    ['insert into orders (note, id) select $1, $2', ['W 8'], ['a', '8']],
    ['insert into orders (note) select unnest($1::text[])', [reasons.generated], ['{a}']],
    // columns that are set equal
    ['select * from items i join orders o on i.order_id = o.id where i.order_id = $1', ['R 4'], ['4']],
    ['select * from items i, orders o where i.order_id = o.id and i.order_id in (1, 2)', ['R 1', 'R 2']],
    ['select * from orders o join items i on o.id = i.a join parts p on p.b = i.a where p.b = 3', ['R 3']],
    ['select * from items i left join orders o on i.order_id = o.id where i.order_id = 4', ['R 4']],
    ['select * from orders o left join items i on i.order_id = o.id where i.order_id = 4', [reasons.noKey]],
    ['select * from items join orders using (id) where items.id = 4', ['R 4']],
    ['select * from items join orders using (id) where id = 4', ['R 4']],
    ['select * from items i left join orders o using (id) where i.id = 4', ['R 4']],
    [
      'select * from orders o join items i on i.order_id = o.id::text where i.order_id = $1',
      [reasons.computed],
      ['4'],
    ],
    ['select * from (orders o join items i on o.id = i.x) j where j.x = 5', [reasons.computed]],
    // names
    ['select * from orders as o(a, b, c) where a = 5', ['R 5']],
    ['select * from orders as o(b, id, c) where id = 5', [reasons.noKey]],
    // a condition from outside
    ['select * from (select * from orders) x where x.id = 5', ['R 5']],
    ['select * from (select id as i, note from orders) x where i in (5, 6)', ['R 5', 'R 6']],
    ['select * from (select id + 1 as id from orders) x where id = 5', [reasons.noKey]],
    ['select * from (select note as id from orders) x where id = 5', [reasons.noKey]],
    ['select * from (select * from orders limit 10) x where id = 5', [reasons.wholeTable]],
    ['select * from (select id, row_number() over () from orders) x where id = 5', [reasons.wholeTable]],
    ['select * from (select id, max(n) from orders group by id) x where id = 5', ['R 5']],
    ['select * from (select distinct on (note) * from orders) x where id = 5', [reasons.wholeTable]],
    ['select * from (select id from orders union all select id from old) x where id = 5', ['R 5']],
    ['select * from (select n from old union all select id from orders) x where n = 5', ['R 5']],
    ['select * from (select * from (select o.* from orders o) y) x where x.id = 5', ['R 5']],
    ['select * from customers c left join (select * from orders) o on o.id = 5', ['R 5']],
    ['select * from orders o join (select 1) x on true where o.id = 1', ['R 1']],
    // LIMIT
    ['select * from orders where id in (1, 2) limit 1', [reasons.limit]],
    ['select * from orders where id in (1, 2) limit 2', ['R 1', 'R 2']],
    ['select * from orders where id = any($1) limit $2', [reasons.limit], ['{1,2,3}', '2']],
    ['select * from orders where id = any($1) limit $2', ['R 1'], ['{1,1}', '1']],
    ['select * from orders where id in (1, 2) limit null', ['R 1', 'R 2']],
    ['select * from orders where id in (1, 2) limit all', ['R 1', 'R 2']],
    ['select * from orders where id in (1, 2) limit 1 + 1', [reasons.limit]],
    ['select * from (select * from orders where id in (1, 2)) x limit 1', [reasons.limit]],
    ['select * from orders where id = 1 union all select * from orders where id = 2 limit 2', ['R 1', 'R 2']],
    ['select * from orders order by id limit 1', [reasons.wholeTable]],
    // casts that change what is compared
    ["select * from orders where id::text = '05'", []],
    ["select * from orders where id::text in ('5', '06')", ['R 5']],
    ["select * from orders where id = '5.4'::numeric::int", [reasons.badValue]],
    ["select * from orders where id = '5'::numeric(3)", [reasons.computed]],
    ["select * from orders where id = '5'::text::int", ['R 5']],
    ['select * from orders where id = $1::text::int', ['R 5'], ['5']],
    // functions
    ['select f(5)', [reasons.routine]],
    ['select * from f(5)', [reasons.routine]],
    ['select app.now()', [reasons.routine]],
    ['select now(), pg_catalog.version()', ['other']],
    ['select f(note) from customers', ['other']],
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
  ['numeric(10,2)', '1.5', '1.50'],
  ['numeric(10,2)', '-0.00', '0.00'],
  ['numeric(10,2)', '1.555', undefined],
  ['numeric(5)', '007.0', '7'],
  ['numeric', '7', '7'],
  ['numeric', '7.5', undefined],
  ['citext', "'a'", undefined],
  ['double precision', '1.5', undefined],
  ['boolean', "'T'", 'true'],
  ['character(5)', "'ab  '", 'ab'],
  ['timestamp without time zone', "'2026-01-02 03:04:05.100'", '2026-01-02 03:04:05.1'],
  ['timestamp(3) without time zone', "'2026-01-02T03:04:05'", '2026-01-02 03:04:05'],
  ['timestamp without time zone', "'2026-01-02'", undefined],
  ['timestamp with time zone', "'2026-01-02 03:04:05.25+02'", '2026-01-02 01:04:05.25+00'],
  ['timestamp with time zone', "'2026-01-02 03:04:05'", undefined],
  ['date', "'Jan 2 2026'", undefined],
  ['text', "'abc'::varchar(2)", undefined],
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

describe('what a session has set and prepared', () => {
  const app = { ...orders, schema: 'app', searchPath: ['$user', 'public'], namesakes: ['public', 'anna'] };
  /** each statement's outcome: keys, or what it is */
  async function run(
    options: AccessResolverOptions,
    statements: [session: string, sql: string, user?: string][],
  ) {
    const resolver = await createAccessResolver(options);
    return statements.map(([session, sql, user = 'u']) => {
      const found = resolver.resolve({ at: 0, sql, params: null, session, user });
      return found.outcome === 'resolved'
        ? found.accesses.map(({ op, key }) => op + key).join()
        : (found.reason ?? found.outcome);
    });
  }
  const read = 'select * from orders where id = 5';

  test('the search path: of the session, of the transaction, of the user', async () => {
    expect(
      await run(app, [
        ['a', read],
        ['a', 'set search_path to app, public'],
        ['a', read],
        ['b', read],
        ['a', 'set search_path = public, app'],
        ['a', read],
        ['a', "select set_config('search_path', 'app', false)"],
        ['a', read],
        ['a', 'reset search_path'],
        ['a', read],
        ['a', 'set local search_path to app'],
        ['a', read],
        ['a', 'commit'],
        ['a', read],
        ['c', read, 'app'],
        ['c', read, 'anna'],
        ['a', 'select * from app.orders where id = 6'],
        ['d', 'set search_path to app; select * from orders where id = 7'],
        ['d', 'set search_path to public; select * from orders where id = 8'],
      ]),
    ).toEqual([
      ...['other', 'other', 'R5', 'other', 'other', 'other', 'other', 'R5', 'other', 'other'],
      ...['other', 'R5', 'other', 'other', 'R5', 'other', 'R6', 'R7', 'other'],
    ]);
    const roles = { ...app, searchPathOf: new Map([['erika', ['app']]]) };
    expect(
      await run(roles, [
        ['a', read, 'erika'],
        ['a', read, 'fritz'],
      ]),
    ).toEqual(['R5', 'other']);
  });

  test('PREPARE and EXECUTE in SQL', async () => {
    expect(
      await run(orders, [
        ['a', 'execute one(5)'],
        ['a', 'prepare one(bigint) as select * from orders where id = $1 and customer = 7'],
        ['a', 'execute one(5)'],
        ['a', "execute one('6')"],
        ['a', 'execute one(1 + 1)'],
        ['b', 'execute one(5)'],
        ['b', 'prepare two as update orders set note = $2 where id in ($1, 9)'],
        ['b', "execute two(5, 'x')"],
        ['b', 'prepare three as select 1; execute three'],
        ['a', 'deallocate one'],
        ['a', 'execute one(5)'],
        ['b', 'discard all'],
        ['b', 'execute three'],
      ]),
    ).toEqual([
      ...[reasons.execute, 'other', 'R5', 'R6', reasons.noParameters, reasons.execute],
      ...['other', 'W5,W9', 'other', 'other', reasons.execute, 'other', reasons.execute],
    ]);
  });
});

test('EXECUTE beside which the log gives the PREPARE', async () => {
  const resolver = await createAccessResolver(orders);
  const prepare = 'PREPARE one AS SELECT * FROM orders WHERE id = $1';
  for (const key of ['5', '6']) {
    const found = resolver.resolve({
      at: 0,
      sql: `EXECUTE one(${key})`,
      params: null,
      session: 's',
      prepare,
    });
    expect(found.accesses).toEqual([{ key, op: 'R', at: 0 }]);
  }
});

test('values of a column that may be looked up, also through EXECUTE, and never with a LIMIT', async () => {
  const resolver = await createAccessResolver({
    ...orders,
    lookups: [{ name: 'customer', type: 'integer' }],
  });
  const run = (sql: string) => resolver.resolve({ at: 3, sql, params: null, session: 's' });
  const wanted = (op: string, ...values: string[]) => [{ column: 0, op, values }];
  expect(run("select * from orders where customer in ('07', 8)").lookup?.wanted).toEqual(
    wanted('R', '7', '8'),
  );
  expect(run('update orders set note = 1 where customer = 7').lookup?.wanted).toEqual(wanted('W', '7'));
  run('prepare one as select * from orders where customer = $1');
  expect(run('execute one(9)').lookup?.wanted).toEqual(wanted('R', '9'));
  expect(run('select * from orders where customer = 7 and id = 1').accesses).toHaveLength(1);
  for (const sql of [
    'select * from orders where customer = 7 limit 1',
    'delete from orders where customer = 7',
    'update orders set customer = 8 where customer = 7',
  ])
    expect(run(sql).outcome, sql).toBe('unresolved');
  expect(resolver.statistics()).toMatchObject({ resolved: 1, unresolved: 3 });
});

test('a sampled statement stands for several', async () => {
  const resolver = await createAccessResolver(orders);
  for (const sql of ['select * from orders where id = 5', 'select * from orders where id in (5, 5)'])
    expect(resolver.resolve({ at: 0, sql, params: null, weight: 4 }).accesses).toEqual([
      { key: '5', op: 'R', at: 0, weight: 4 },
    ]);
});

test('views over the table, one over another, and the functions that the catalogue tells of', async () => {
  const views = [
    {
      schema: 'public',
      name: 'open_orders',
      definition: "select id as order_id, note from public.orders where note = 'x';",
    },
    { schema: 'public', name: 'few', definition: 'select o.order_id as k from public.open_orders o' },
    {
      schema: 'public',
      name: 'joined',
      definition:
        'select o.id, c.name from (public.orders o join public.customers c on ((c.id = o.customer)))',
    },
    { schema: 'public', name: 'seven', definition: 'select * from public.orders where id = 7' },
    {
      schema: 'archive',
      name: 'both',
      definition: 'select id from public.orders union all select id from archive.orders',
    },
  ];
  const options = { ...orders, views, routines: new Set(['touch']) };
  const of = (sql: string, params: string[] | null = null) => accesses(options, sql, params);
  expect(await of('select * from open_orders where order_id = 5')).toEqual(['R 5']);
  expect(await of('select * from open_orders v where v.order_id in ($1, 3)', ['2'])).toEqual(['R 2', 'R 3']);
  expect(await of('select * from open_orders v where v.order_id = any($1)', ['{2,3}'])).toEqual([
    'R 2',
    'R 3',
  ]);
  expect(await of('select * from few where k between 1 and 2')).toEqual(['R 1', 'R 2']);
  expect(await of('select name from joined j where j.id = 5')).toEqual(['R 5']);
  expect(await of('select * from joined j(a, b) where j.a = 5')).toEqual(['R 5']);
  expect(await of('select * from items i join joined j on j.id = i.o where i.o = 5')).toEqual(['R 5']);
  expect(await of('select * from few')).toEqual([reasons.noKey]);
  expect(await of('select * from seven')).toEqual([reasons.computed]);
  expect(await of('select * from both where id = 5')).toEqual(['other']);
  expect(await of('select * from archive.both where id = 5')).toEqual(['R 5']);
  expect(await of('update open_orders set note = 1 where order_id = 5')).toEqual([reasons.viewWrite]);
  expect(await of('with few as (select 1 as k) select * from few where k = 5')).toEqual(['other']);
  expect(await of('select touch(5)')).toEqual([reasons.routine]);
  expect(await of('select * from customers where x = app.touch(5)')).toEqual([reasons.routine]);
  expect(await of('call touch(5)')).toEqual([reasons.routine]);
  expect(await of('select f(5)')).toEqual(['other']);
  expect(await of('call f(5)')).toEqual(['other']);
  expect(await of('do $$ begin perform touch(1); end $$')).toEqual([reasons.routine]);
  expect(await of('do $$ begin perform f(1); end $$')).toEqual(['other']);
});

test('the short way finds what the long way finds', async () => {
  const texts = [
    'select * from orders where id = %',
    'update orders set note = % where id = %',
    'insert into orders (id, note) values (%, %)',
    'delete from orders where note=% and id=%;',
    'select % from customers where id = %',
    'select * from orders where id = %::bigint /* % */',
    'select 7 - % from orders where id = %',
    'select * from t1 where x = %; select * from orders where id = %',
  ];
  const values = [
    '1',
    '22',
    '-3',
    "'4'",
    "'it''s'",
    "'-5'",
    '1.5',
    '0x10',
    '1e3',
    "E'6'",
    '$$7$$',
    'null',
    '- 8',
    '--9\n 1',
    "'a'\n'b'",
    '.5',
    '1_000',
    "U&'1'",
    'now()',
    '(1)',
    '1.',
    '12a',
  ];
  const whole = await createAccessResolver(orders);
  let seen = 0;
  for (let round = 0; round < 2; round++)
    for (const text of texts)
      for (const a of values)
        for (const b of values) {
          const sql = text.replace('%', a).replace('%', b);
          const fresh = await createAccessResolver(orders);
          const expected = fresh.resolve({ at: 1, sql, params: null });
          expect(whole.resolve({ at: 1, sql, params: null }), sql).toEqual(expected);
          seen += expected.accesses.length;
        }
  expect(seen).toBeGreaterThan(500);
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
    // a list: a statement that is told by its text alone keeps its plan beside the cache
    const sql = `select ${column} from orders where id in (5, 5)`;
    expect(resolver.resolve({ at: 0, sql, params: null }).accesses).toEqual([{ key: '5', op: 'R', at: 0 }]);
  }
  expect(resolver.statistics().parses).toBe(4);
});

test('two long lists for the same column are refused, not multiplied', async () => {
  const list = Array.from({ length: 2000 }, (_, k) => k).join();
  expect(await accesses(orders, `select * from orders where id in (${list}) and id in (${list})`)).toEqual([
    reasons.tooMany,
  ]);
});
