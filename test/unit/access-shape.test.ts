import { describe, expect, test } from 'vitest';
import { representative, scanShape } from '../../src/access/shape.ts';

const values = (sql: string): string[][] =>
  scanShape(sql).slots.map((slot) => slot.map(({ start, end }) => sql.slice(start, end)));

describe('the shape of a statement', () => {
  test.each<[string, string, string[][]]>([
    ['select 1', 'select ?', [['1']]],
    ['select * from t where id = -5', 'select * from t where id = ?', [['-5']]],
    ['select a -5', 'select a -?', [['5']]],
    ['select a - 5', 'select a - ?', [['5']]],
    ['select - 5', 'select - ?', [['5']]],
    ['select a1, b2.c3 from t4', 'select a1,b2.c3 from t4', []],
    [
      'select 1.5, .5, 1e10, 1.e-3, 0x1F, 1_000',
      'select ?,?,?,?,?,?',
      [['1.5'], ['.5'], ['1e10'], ['1.e-3'], ['0x1F'], ['1_000']],
    ],
    ["select 'it''s', E'a\\'b', N'n'", 'select ?,?,?', [["'it''s'"], ["E'a\\'b'"], ["N'n'"]]],
    ["select B'01', x'1F', U&'\\0041'", 'select ?,?,?', [["B'01'"], ["x'1F'"], ["U&'\\0041'"]]],
    ["select $$a'b$$, $q$ $$ $q$", 'select ?,?', [["$$a'b$$"], ['$q$ $$ $q$']]],
    ['select $1, $23', 'select ?,?', [['$1'], ['$23']]],
    ["select 'a'\n  'b'", 'select ?', [["'a'\n  'b'"]]],
    ['select "a""1", "x?"', 'select "a""1","x?"', []],
    ['select /* 1 /* 2 */ */ 3 -- 4\n + 5', 'select ? + ?', [['3'], ['5']]],
    ['  select\n\t1  ,  2 ', 'select ?,?', [['1'], ['2']]],
    ['select a$1, t.c1', 'select a$1,t.c1', []],
    ['select x where id in (1, 2,3)', 'select x where id in (?)', [['1', '2', '3']]],
    ['select x where id IN (-1,+2)', 'select x where id IN (?,+?)', [['-1'], ['2']]],
    ["id in ('a'::uuid, 'b'::uuid)", 'id in (?::uuid)', [["'a'", "'b'"]]],
    ["id in ('a'::uuid, 'b'::text)", 'id in (?::uuid,?::text)', [["'a'"], ["'b'"]]],
    ['id in ($1, $2, $3) and x = $4', 'id in (?) and x = ?', [['$1', '$2', '$3'], ['$4']]],
    ['id = any(array[1,2,3])', 'id = any(array[?])', [['1', '2', '3']]],
    [
      '(a,b) in ((1,2),(3,4), (5 , 6))',
      '(a,b) in ((?,?))',
      [
        ['1', '3', '5'],
        ['2', '4', '6'],
      ],
    ],
    ['f(1, 2)', 'f(?,?)', [['1'], ['2']]],
    [
      'insert into t values (1,2),(3,4) on conflict do nothing',
      'insert into t values (?,?) on conflict do nothing',
      [
        ['1', '3'],
        ['2', '4'],
      ],
    ],
    ['insert into t values (1,now()),(3,now())', 'insert into t values (?,now())', [['1', '3']]],
    [
      'insert into t values (1,default),(default,4)',
      'insert into t values (?,default),(default,?)',
      [['1'], ['4']],
    ],
    ['values (1),(2); select (1),(2)', 'values (?); select (?),(?)', [['1', '2'], ['1'], ['2']]],
    ["select 'open", 'select ?', [["'open"]]],
    ['select /* open', 'select', []],
    ['select "open', 'select "open', []],
    ["select 'é', 'ü' from ñ1", 'select ?,? from ñ1', [["'é'"], ["'ü'"]]],
    ['))(((', '))(((', []],
  ])('%s', (sql, shape, slots) => {
    expect(scanShape(sql).shape).toBe(shape);
    expect(values(sql)).toEqual(slots);
  });

  test('the representative puts the first values back', () => {
    const scan = scanShape("select 'é' /* x */ from t where data ? 'k' and id in ( 10, 20 ) and x = -3");
    const { sql, valueStarts } = representative(scan);
    expect(sql).toBe("select 'é' from t where data ? 'k' and id in (10) and x =-3".replace('=-', '= -'));
    expect(valueStarts.map((at) => sql.slice(at, at + 2))).toEqual(["'é", "'k", '10', '-3']);
  });
});
