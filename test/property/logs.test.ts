import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createAccessResolver } from '../../src/access/index.ts';
import { parseArrayText } from '../../src/access/literal.ts';
import { representative, scanShape } from '../../src/access/shape.ts';
import { type ExecutedStatement, LogParser } from '../../src/logs/index.ts';
import { JsonlogReader } from '../../src/logs/jsonlog.ts';
import { parseParameters } from '../../src/logs/parameters.ts';

const record = (session: string, message: string) =>
  JSON.stringify({
    timestamp: '2026-05-01 12:00:00.000 UTC',
    session_id: session,
    error_severity: 'LOG',
    message,
  });

/** Lines that are none: noise, JSON of any form, records with fields of the wrong type, torn and overwritten ones. */
const garbage = fc
  .oneof(
    fc.string({ unit: 'binary' }),
    fc.json(),
    fc.record({ timestamp: fc.anything(), message: fc.anything(), pid: fc.anything() }).map((o) => {
      try {
        return JSON.stringify(o) ?? '';
      } catch {
        return '{';
      }
    }),
    fc
      .tuple(fc.nat(80), fc.string())
      .map(([cut, noise]) => record('g', 'statement: torn').slice(0, cut) + noise),
  )
  .map((text) => text.replaceAll('\n', ' '));

test('no line stops the reader, and no good line after it is lost', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(garbage, fc.constant(null)), { maxLength: 30 }), (input) => {
      let good = 0;
      const lines = input.map((text) => text ?? record(`s${good}`, `statement: good ${good++}`));
      const out: ExecutedStatement[] = [];
      const parser = new LogParser();
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
      parser.feed(bytes, { reader: new JsonlogReader(), rest: 'end' }, out);
      parser.flush(out);
      const read = out.filter(({ sql }) => sql.startsWith('good ')).map(({ sql }) => sql);
      expect(read).toEqual(Array.from({ length: good }, (_, k) => `good ${k}`));
      const nonEmpty = lines.filter((text) => text !== '' && text !== '\r').length;
      expect(parser.counters.lines).toBe(lines.length);
      expect(parser.counters.executions).toBe(out.length);
      expect(parser.counters.malformed).toBeLessThanOrEqual(nonEmpty - good);
    }),
    { numRuns: 500 },
  );
});

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
