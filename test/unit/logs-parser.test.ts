import { describe, expect, test } from 'vitest';
import { type ExecutedStatement, LogParser } from '../../src/logs/index.ts';
import { JsonlogReader } from '../../src/logs/jsonlog.ts';
import { parseParameters } from '../../src/logs/parameters.ts';
import { createTimeReader } from '../../src/logs/timestamp.ts';

/** One jsonlog line; times are seconds after 12:00:00. */
function line(message: string, more: Record<string, unknown> = {}, second = 0): string {
  const timestamp = `2026-05-01 12:00:${second.toFixed(3).padStart(6, '0')} UTC`;
  return JSON.stringify({
    timestamp,
    user: 'app',
    dbname: 'shop',
    pid: 7,
    session_id: 's1',
    line_num: 1,
    ps: 'SELECT',
    error_severity: 'LOG',
    message,
    application_name: 'web',
    backend_type: 'client backend',
    query_id: 0,
    ...more,
  });
}
const error = (statement: string | undefined, more: Record<string, unknown> = {}) =>
  line('it failed', { error_severity: 'ERROR', ...(statement !== undefined && { statement }), ...more });

function feed(parser: LogParser, lines: string[], out: ExecutedStatement[]): void {
  const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
  parser.feed(bytes, { reader: new JsonlogReader(), rest: 'end' }, out);
}
function parse(lines: string[]): { sql: string[]; parser: LogParser; statements: ExecutedStatement[] } {
  const parser = new LogParser();
  const statements: ExecutedStatement[] = [];
  feed(parser, lines, statements);
  parser.flush(statements);
  return { sql: statements.map(({ sql }) => sql), parser, statements };
}

test.each<[string, (string | null)[] | null]>([
  ["Parameters: $1 = '42', $2 = NULL", ['42', null]],
  ["parameters: $1 = '42'", ['42']],
  ["Parameter: $1 = '42'", ['42']],
  ["Parameters: $1 = 'it''s', $2 = '', $3 = ''''", ["it's", '', "'"]],
  ["Parameters: $1 = 'a\nb', $2 = ''', $3 = ''x', $3 = '{1,2}'", ['a\nb', "', $3 = 'x", '{1,2}']],
  ["Parameters: $1 = 'abc...'", ['abc...']],
  [
    "Parameters: $1 = '1', $2 = '2', $3 = '3', $4 = '4', $5 = '5', $6 = '6', $7 = '7', $8 = '8', $9 = '9', $10 = '10'",
    ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10'],
  ],
  ['prepare: prepare foo as select 1', null],
  ["Parameters: $1 = '42", null],
  ["Parameters: $1 = '42' ", null],
  ["Parameters: $1 = '42', ", null],
  ['Parameters: $1 = 42', null],
  ["Parameters: $2 = '42'", null],
  ['', null],
])('parameters of %j', (detail, values) => {
  expect(parseParameters(detail)).toEqual(values);
});

test.each<[string, string | undefined]>([
  ['2026-05-01 12:00:00.123 UTC', '2026-05-01T12:00:00.123Z'],
  ['2026-05-01 12:00:00.123 CEST', '2026-05-01T10:00:00.123Z'],
  ['2026-01-01 00:30:59.999 IST', '2025-12-31T19:00:59.999Z'],
  ['2026-05-01 12:00:00.123 +0545', '2026-05-01T06:15:00.123Z'],
  ['2026-05-01 12:00:00.123 -03', '2026-05-01T15:00:00.123Z'],
  ['2026-05-01 12:00:00 GMT', '2026-05-01T12:00:00.000Z'],
  ['2026-05-01', undefined],
  ['yesterday', undefined],
  ['', undefined],
])('time %s', (text, iso) => {
  expect(createTimeReader()(text)?.at).toBe(iso === undefined ? undefined : Date.parse(iso) / 1000);
});

test('the time reader does not carry a minute or a zone over to another line', () => {
  const read = createTimeReader();
  const at = (text: string) => new Date((read(text)?.at ?? 0) * 1000).toISOString();
  expect(at('2026-05-01 12:00:59.500 UTC')).toBe('2026-05-01T12:00:59.500Z');
  expect(at('2026-05-01 12:01:00.001 UTC')).toBe('2026-05-01T12:01:00.001Z');
  expect(at('2026-05-01 12:01:00.001 CET')).toBe('2026-05-01T11:01:00.001Z');
  expect(read('2026-05-01 12:01:00.001 XYZ')).toEqual({ at: 1777636860.001, zoneKnown: false });
});

describe('lines that are an execution', () => {
  test.each<[string, string, string]>([
    ['simple protocol', 'statement: select 1', 'select 1'],
    ['several statements', 'statement: begin; select 1;\ncommit', 'begin; select 1;\ncommit'],
    ['unnamed', 'execute <unnamed>: select $1', 'select $1'],
    ['named', 'execute my-stmt 1: select $1', 'select $1'],
    ['named, in a portal', 'execute s1/p1: select $1', 'select $1'],
    ['slow', 'duration: 0.010 ms  statement: select 1', 'select 1'],
    ['slow, extended', 'duration: 12.5 ms  execute <unnamed>: select $1', 'select $1'],
    ['a colon in the statement', "execute <unnamed>: select 'a: b'", "select 'a: b'"],
  ])('%s', (_, message, sql) => {
    const found = parse([line(message, { detail: "Parameters: $1 = '5'" }, 1.25)]);
    const at = Date.UTC(2026, 4, 1, 12, 0, 1, 250) / 1000;
    expect(found.statements).toEqual([
      {
        at,
        database: 'shop',
        user: 'app',
        pid: 7,
        session: 's1',
        applicationName: 'web',
        sql,
        params: ['5'],
        truncated: null,
        prepare: null,
        weight: 1,
      },
    ]);
    expect(found.parser.counters).toMatchObject({ lines: 1, malformed: 0, executions: 1, failed: 0 });
  });
});

test.each([
  'duration: 0.010 ms',
  'duration: 0.010 ms  parse <unnamed>: select $1',
  'duration: 0.010 ms  bind <unnamed>: select $1',
  'duration: 0.010 ms  plan:\nQuery Text: statement: select 1',
  'execute fetch from <unnamed>/p1: select $1',
  'duration: 0.010 ms  execute fetch from s/p1: select $1',
  'checkpoint starting: time',
  'connection authorized: user=statement: select 1',
])('no execution: %s', (message) => {
  expect(parse([line(message)]).statements).toEqual([]);
});

describe('failed statements', () => {
  test('are taken back', () => {
    const { sql, parser } = parse([
      line('statement: a'),
      line('statement: b'),
      error('b'),
      line('statement: c'),
    ]);
    expect(sql).toEqual(['a', 'c']);
    expect(parser.counters).toMatchObject({ executions: 2, failed: 1 });
  });
  test('are taken back after a warning, and when the error names no statement', () => {
    const warning = line('careful', { error_severity: 'WARNING' });
    expect(parse([line('statement: a'), warning, error('a')]).sql).toEqual([]);
    expect(parse([line('statement: a'), error(undefined)]).sql).toEqual([]);
    expect(parse([line('statement: a'), error('a', { error_severity: 'FATAL' })]).sql).toEqual([]);
  });
  test('do not take back what ran before them', () => {
    const bind = error('a', { ps: 'BIND' });
    expect(parse([line('execute n: a'), bind]).sql).toEqual(['a']); // the next execution of `a` never began
    expect(parse([line('statement: a'), error('syntax')]).sql).toEqual(['a']);
    expect(parse([line('statement: a'), line('duration: 1.0 ms'), error('a')]).sql).toEqual(['a']);
    expect(parse([line('duration: 1.0 ms  statement: a'), error('a')]).sql).toEqual(['a']);
  });
  test('belong to one session', () => {
    const other = { session_id: 's2' };
    expect(
      parse([line('statement: a'), line('statement: a', other), error('a', other)]).statements,
    ).toMatchObject([{ session: 's1' }]);
  });
});

describe('holding back', () => {
  test('keeps the order of the log', () => {
    const parser = new LogParser();
    const out: ExecutedStatement[] = [];
    feed(parser, [line('statement: a'), line('duration: 1.0 ms  statement: b', { session_id: 's2' })], out);
    expect(out).toEqual([]); // a may still fail, and b comes after it
    feed(parser, [line('duration: 1.0 ms')], out);
    expect(out.map(({ sql }) => sql)).toEqual(['a', 'b']);
  });
  test('ends after the hold time of the log', () => {
    const parser = new LogParser({ holdSeconds: 2 });
    const out: ExecutedStatement[] = [];
    feed(parser, [line('statement: a', {}, 1), line('statement: b', { session_id: 's2' }, 2.9)], out);
    expect(out).toEqual([]);
    feed(parser, [line('duration: 1.0 ms', { session_id: 's3' }, 3)], out);
    expect(out.map(({ sql }) => sql)).toEqual(['a']);
    feed(parser, [error('a')], out); // too late to matter
    parser.flush(out);
    expect(out.map(({ sql }) => sql)).toEqual(['a', 'b']);
  });
  test('is bounded', () => {
    const parser = new LogParser({ holdStatements: 100 });
    const out: ExecutedStatement[] = [];
    const lines = Array.from({ length: 5000 }, (_, k) => line(`statement: ${k}`, { session_id: `s${k}` }));
    feed(parser, lines, out);
    expect(out.map(({ sql }) => Number(sql))).toEqual(Array.from({ length: 4900 }, (_, k) => k));
  });
});

test('what is held back is bounded by its size too', () => {
  const parser = new LogParser();
  const out: ExecutedStatement[] = [];
  const megabyte = 'x'.repeat(1 << 20);
  for (let k = 0; k < 20; k++)
    feed(parser, [line(`statement: ${k} ${megabyte}`, { session_id: `s${k}` })], out);
  expect(out).toHaveLength(5); // fifteen and a bit are 16 MB
});

test('garbage is counted, and what follows is read', () => {
  const good = line('statement: a');
  const torn = good.slice(0, 40);
  const junk = [
    'not json',
    '{',
    '[]',
    'null',
    '5',
    '"x"',
    '{}',
    '{"timestamp":5}',
    '{"timestamp":"soon"}',
    torn,
    '\0\0',
  ];
  const { sql, parser } = parse([...junk.flatMap((bad) => [bad, good]), '', '\r']);
  expect(sql).toEqual(junk.map(() => 'a'));
  expect(parser.counters).toMatchObject({ lines: 24, malformed: 11, executions: 11 });
});

test('a record after a torn one on the same line is read', () => {
  const good = line('statement: a');
  const { sql, parser } = parse([good.slice(0, 90) + good, `\0\0\0${good}`]);
  expect(sql).toEqual(['a', 'a']);
  expect(parser.counters.malformed).toBe(2);
});

test('an unknown time zone is counted', () => {
  const { parser } = parse([line('statement: a').replace('UTC', 'XYZT')]);
  expect(parser.counters).toMatchObject({ executions: 1, zoneGuessed: 1 });
});
