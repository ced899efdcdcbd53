import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createAccessResolver } from '../../src/access/index.ts';
import { parseArrayText } from '../../src/access/literal.ts';
import { representative, scanShape } from '../../src/access/shape.ts';
import { parseParameters } from '../../src/logs/parameters.ts';

test('parameters come back as they went in, whatever they hold', () => {
  const value = fc.oneof(
    fc.string({ unit: fc.constantFrom("'", '$', '1', ' ', '=', ',', '\n', 'é') }),
    fc.constant(null),
  );
  fc.assert(
    fc.property(fc.array(value, { minLength: 1 }), (values) => {
      // the way the server writes them
      const written = values.map(
        (v, k) => `$${k + 1} = ${v === null ? 'NULL' : `'${v.replaceAll("'", "''")}'`}`,
      );
      expect(parseParameters(`Parameters: ${written.join(', ')}`)).toEqual(values);
    }),
  );
  fc.assert(fc.property(fc.string(), (text) => void parseParameters(text)));
});

test('array texts come back as they went in', () => {
  const value = fc.oneof(
    fc.string({ unit: fc.constantFrom('"', '\\', '{', '}', ',', ' ', 'a', '\n') }),
    fc.constant(null),
  );
  fc.assert(
    fc.property(fc.array(value), (values) => {
      const written = values.map((v) => (v === null ? 'NULL' : `"${v.replace(/["\\]/g, '\\$&')}"`));
      expect(parseArrayText(`{${written.join(',')}}`)).toEqual(values);
    }),
  );
  fc.assert(fc.property(fc.string(), (text) => void parseArrayText(text)));
});

const sqlNoise = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        'select',
        'in',
        'values',
        '(',
        ')',
        '[',
        ']',
        ',',
        ';',
        "'",
        "''",
        '"',
        '$$',
        '$a$',
        '$1',
        '--',
        '/*',
        '*/',
        '-',
        'E',
        "E'",
        '\\',
        ' ',
        '\n',
        '?',
        '5',
        '1.5',
        '.',
        'orders',
        'where',
        'id',
        '=',
        'é',
        '::',
        "U&'",
        'array',
      ),
      fc.string({ unit: 'binary', maxLength: 3 }),
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(''));

test('no text stops the scan, and its values lie inside the text', () => {
  fc.assert(
    fc.property(sqlNoise, (sql) => {
      const scan = scanShape(sql);
      expect(scan.slots.length).toBe(scan.places.length);
      for (const place of scan.places) expect(scan.shape[place]).toBe('?');
      for (const { start, end } of scan.slots.flat()) {
        expect(start).toBeLessThan(end);
        expect(end).toBeLessThanOrEqual(sql.length);
      }
      expect(() => representative(scan)).not.toThrow();
    }),
    { numRuns: 2000 },
  );
});

test('no statement stops the resolver', async () => {
  const resolver = await createAccessResolver({
    schema: 'public',
    table: 'orders',
    key: [{ name: 'id', type: 'bigint' }],
  });
  fc.assert(
    fc.property(sqlNoise, fc.option(fc.array(fc.option(fc.string()))), (sql, params) => {
      resolver.resolve({ at: 0, sql, params });
    }),
    { numRuns: 1000 },
  );
});

test('whatever keys go into a statement come out, in every way to write it', async () => {
  const resolver = await createAccessResolver({
    schema: 'public',
    table: 'orders',
    key: [{ name: 'id', type: 'bigint' }],
  });
  const key = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String);
  const keys = fc.uniqueArray(key, { minLength: 1, maxLength: 20 });
  const numbered = (list: string[]) => list.map((_, k) => `$${k + 1}`).join(', ');
  const forms: ((list: string[]) => { sql: string; params?: string[] })[] = [
    (list) => ({ sql: `select * from orders where id in (${list.join(', ')})` }),
    (list) => ({ sql: `select * from orders where id in (${list.map((k) => `'${k}'::bigint`).join(',')})` }),
    (list) => ({ sql: `select * from orders where id in (${numbered(list)})`, params: list }),
    (list) => ({ sql: `select * from orders where id = any(array[${list.join(',')}])` }),
    (list) => ({ sql: 'select * from orders where id = any($1)', params: [`{${list.join(',')}}`] }),
    (list) => ({ sql: list.map((k) => `select * from orders where id = ${k}`).join(' union all ') }),
    (list) => ({ sql: `select * from orders where ${list.map((k) => `id=${k}`).join(' or ')}` }),
    (list) => ({ sql: `insert into orders (note, id) values ${list.map((k) => `('x', ${k})`).join(', ')}` }),
    (list) => ({ sql: list.map((k) => `delete from orders where ${k} = id`).join('; ') }),
  ];
  fc.assert(
    fc.property(keys, fc.constantFrom(...forms), (list, form) => {
      const { sql, params } = form(list);
      const found = resolver.resolve({ at: 0, sql, params: params ?? null });
      expect(found.outcome).toBe('resolved');
      expect(found.accesses.map((access) => access.key)).toEqual(list);
    }),
    { numRuns: 500 },
  );
});
