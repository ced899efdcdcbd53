import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CsvlogReader } from '../../src/logs/csvlog.ts';
import { detectFormat } from '../../src/logs/detect-format.ts';
import type { EventOptions, RecordReader } from '../../src/logs/event.ts';
import {
  type ExecutedStatement,
  LogParser,
  logOptionsOf,
  newLogCounters,
  readLog,
  requireReadableLog,
} from '../../src/logs/index.ts';
import { commonPrefixes, compileLinePrefix } from '../../src/logs/line-prefix.ts';
import { truncatedAmong } from '../../src/logs/parameters.ts';
import { type Sampling, samplingOf, weightOf } from '../../src/logs/sampling.ts';
import { StderrReader } from '../../src/logs/stderr-log.ts';
import type { Rest } from '../../src/logs/stretch.ts';

function read(reader: RecordReader, text: string | Buffer, rest: Rest = 'end') {
  const parser = new LogParser();
  const out: ExecutedStatement[] = [];
  const bytes = Buffer.isBuffer(text) ? text : Buffer.from(text);
  const dealtWith = parser.feed(bytes, { reader, rest }, out);
  parser.flush(out);
  return { out, sql: out.map(({ sql }) => sql), counters: parser.counters, dealtWith };
}

/** What `log_line_prefix` escapes stand for, as servers print them. */
const printed: Readonly<Record<string, string>> = {
  a: 'my app: 1',
  u: 'app',
  d: 'shop',
  r: '10.0.0.7(51234)',
  h: '10.0.0.7',
  L: '10.0.0.1',
  b: 'client backend',
  p: '4711',
  P: '',
  t: '2026-05-01 12:00:00 UTC',
  m: '2026-05-01 12:00:00.250 UTC',
  n: '1777636800.250',
  i: 'SELECT',
  e: '00000',
  c: '6b08b1ce.639b',
  l: '17',
  s: '2026-05-01 11:59:59 UTC',
  v: '3/42',
  x: '0',
  Q: '-8237498237498',
  '%': '%',
  q: '',
};
const print = (prefix: string, values = printed) =>
  prefix.replace(/%(-?\d*)(.)/g, (_, padding: string, letter: string) => {
    const value = values[letter] ?? '';
    const width = Math.abs(Number(padding));
    return padding.startsWith('-') ? value.padEnd(width) : value.padStart(width);
  });

describe('stderr', () => {
  const everything = '%a,%u %d %r %h %L %b %p %P %t %m %n %i %e %c %l %s %v %x %Q %%';
  test.each([
    ...commonPrefixes,
    everything,
    '%-20d|%20u|%-10p|%10c|%m|%a ',
    '%n %c ',
    '(%t) [%p] {%u}^$.*+?|\\ ',
    '%m%p%q[%a]',
    'größe %m [%p] %d ',
    '%m [%p] %Z%d ', // a letter that the server does not know
  ])('with the prefix %j', (prefix) => {
    const compiled = compileLinePrefix(prefix);
    const line = `${print(prefix)}LOG:  duration: 1.5 ms  execute p: select $1,\n\t'LOG:  x'\n${print(prefix)}DETAIL:  Parameters: $1 = 'a\n\tb'\n`;
    const { out, counters } = read(new StderrReader(compiled), line + line);
    const one = {
      sql: "select $1,\n'LOG:  x'",
      params: ['a\nb'],
      ...(prefix.includes('d') && /%-?\d*d/.test(prefix) && { database: 'shop' }),
      ...(/%-?\d*u/.test(prefix) && { user: 'app' }),
      ...(/%-?\d*a/.test(prefix) && { applicationName: 'my app: 1' }),
      ...(/%-?\d*p/.test(prefix) && { pid: 4711 }),
      ...(/%-?\d*c/.test(prefix) ? { session: '6b08b1ce.639b' } : { session: '4711' }),
      at: 1_777_636_800 + (/%[mn]/.test(prefix) ? 0.25 : 0),
    };
    expect(out).toMatchObject([one, one]);
    expect(counters).toMatchObject({ malformed: 0, foreign: 0, lines: 8 });
  });

  test.each(commonPrefixes)('finds out by itself that the prefix is %j', (prefix) => {
    const values = { ...printed, a: 'psql' };
    const system = { ...values, u: '', d: '', a: '' };
    const sample = `${print(prefix.split('%q')[0] as string, system)}LOG:  checkpoint starting: time\n${print(prefix, values)}LOG:  statement: select 1\n`;
    const format = detectFormat(sample, {});
    expect(format?.name).toBe('stderr');
    const { out } = read(
      new StderrReader(format?.name === 'stderr' ? format.prefix : compileLinePrefix('%t%p')),
      sample,
    );
    expect(out).toMatchObject([
      {
        sql: 'select 1',
        database: prefix.includes('%d') ? 'shop' : '',
        user: prefix.includes('%u') ? 'app' : '',
        applicationName: prefix.includes('%a') ? 'psql' : '',
      },
    ]);
  });

  test.each([
    ['', 'a time'],
    ['%p %d ', 'a time'],
    ['%m %d ', 'a session'],
  ])('refuses the prefix %j, which does not tell %s', (prefix, what) => {
    expect(() => compileLinePrefix(prefix)).toThrow(
      expect.objectContaining({ code: 'LOG_FORMAT', message: expect.stringContaining(what) }),
    );
  });

  const prefix = '%m [%p] ';
  const reader = () => new StderrReader(compileLinePrefix(prefix));
  const head = print(prefix);

  test('lines that belong to a record, in any order and verbose', () => {
    const { out } = read(
      reader(),
      `${head}LOG:  00000: execute <unnamed>: select $1\n${head}DETAIL:  Parameters: $1 = '7'\n${head}LOCATION:  exec_execute_message, postgres.c:2277\n` +
        `${head}LOG:  00000: duration: 0.1 ms\n${head}LOG:  00000: statement: execute foo(4)\n${head}DETAIL:  prepare: prepare foo as select $1\n`,
    );
    expect(out).toMatchObject([
      { sql: 'select $1', params: ['7'], prepare: null },
      { sql: 'execute foo(4)', params: null, prepare: 'prepare foo as select $1' },
    ]);
  });

  test('an error takes back the statement that it names', () => {
    const failed = `${head}ERROR:  22012: division by zero\n${head}CONTEXT:  somewhere\n${head}STATEMENT:  select\n\t1/0\n`;
    expect(read(reader(), `${head}LOG:  statement: select\n\t1/0\n${failed}`).sql).toEqual([]);
    expect(read(reader(), `${head}LOG:  statement: select\n\t1\n${failed}`).sql).toEqual(['select\n1']);
  });

  test('an error while binding does not, where the context tells (16 and later)', () => {
    const bind = `${head}ERROR:  invalid input syntax\n${head}CONTEXT:  unnamed portal parameter $1 = '...'\n${head}STATEMENT:  select $1\n`;
    expect(read(reader(), `${head}LOG:  execute <unnamed>: select $1\n${bind}`).sql).toEqual(['select $1']);
    expect(
      read(reader(), `${head}LOG:  execute <unnamed>: select $1\n${bind.replace('unnamed portal', 'x')}`).sql,
    ).toEqual([]);
  });

  test('a record is whole with the next one, after a quiet time, or at the end', () => {
    const text = `${head}LOG:  statement: select 1\n`;
    expect(read(reader(), text, 'more')).toMatchObject({ sql: [], dealtWith: 0 });
    expect(read(reader(), text, 'quiet')).toMatchObject({ sql: ['select 1'], dealtWith: text.length });
    expect(read(reader(), text.trimEnd(), 'quiet')).toMatchObject({ sql: [], dealtWith: 0 });
    expect(read(reader(), text.trimEnd(), 'end')).toMatchObject({ sql: ['select 1'] });
    expect(read(reader(), text + text, 'more')).toMatchObject({ sql: ['select 1'], dealtWith: text.length });
  });

  test('newlines of Windows', () => {
    const text = `${head}LOG:  statement: select\r\n\t1\r\n${head}LOG:  duration: 1.0 ms\r\n`;
    expect(read(reader(), text)).toMatchObject({ sql: ['select\n1'], counters: { malformed: 0 } });
  });

  test('lines of programs that the server calls are counted, and end the record before them', () => {
    const text = `${head}LOG:  statement: a\ncp: cannot stat 'x'\n\tmore of it\n${head}LOG:  statement: b\n`;
    expect(read(reader(), text)).toMatchObject({ sql: ['a', 'b'], counters: { malformed: 2 } });
  });

  test('records in another language are counted', () => {
    const text = `${head}FEHLER:  nein\n${head}LOG:  statement: b\n`;
    expect(read(reader(), text)).toMatchObject({ sql: ['b'], counters: { foreign: 1 } });
  });
});

describe('csvlog', () => {
  const columns = (version: number) =>
    version <= 12 ? '' : version === 13 ? ',"client backend"' : ',"client backend",,0';
  const record = (message: string, version: number, more = '') =>
    `2026-05-01 12:00:00.250 UTC,"a""pp","shop",7,"127.0.0.1:5",s1,1,"SELECT",2026-05-01 12:00:00 UTC,3/7,0,LOG,00000,"${message}",,,,,,,,,"web"${columns(version)}${more}\n`;

  test.each([12, 13, 14, 18])('with the columns of PostgreSQL %i', (version) => {
    const text = record('statement: select 1,\n""x""', version);
    const { out, counters } = read(new CsvlogReader(), text + text.replaceAll('\n', '\r\n'));
    expect(out).toMatchObject([
      {
        sql: 'select 1,\n"x"',
        user: 'a"pp',
        database: 'shop',
        pid: 7,
        session: 's1',
        applicationName: 'web',
        at: 1777636800.25,
      },
      { sql: 'select 1,\r\n"x"' },
    ]);
    expect(counters).toMatchObject({ malformed: 0, lines: 4 });
  });

  test('with columns of the future', () => {
    expect(read(new CsvlogReader(), record('statement: a', 18, ',"new","and\nmore"').repeat(2)).sql).toEqual([
      'a',
      'a',
    ]);
  });

  test('the last record needs no newline; a torn one is counted', () => {
    const whole = record('statement: a', 18);
    expect(read(new CsvlogReader(), whole + whole.trimEnd()).sql).toEqual(['a', 'a']);
    expect(read(new CsvlogReader(), whole + whole.slice(0, 150))).toMatchObject({
      sql: ['a'],
      counters: { malformed: 1 },
    });
    expect(read(new CsvlogReader(), whole + whole.slice(0, 150), 'more').dealtWith).toBe(whole.length);
  });

  test('a record behind a torn one on the same line, and behind zero bytes', () => {
    const whole = record('statement: a', 18);
    expect(read(new CsvlogReader(), whole.slice(0, 150) + whole).sql).toEqual(['a']);
    expect(read(new CsvlogReader(), `\0\0\0\0${whole}`).sql).toEqual(['a']);
  });

  test('bytes that are no UTF-8', () => {
    const text = Buffer.from(record('statement: select ~~é', 18));
    text[text.indexOf('~~')] = 0xff;
    expect(read(new CsvlogReader(), text).sql).toEqual(['select \ufffd~é']);
  });

  test('other databases are passed over where one is asked for', () => {
    const text = record('statement: a', 18) + record('statement: b', 18).replace('"shop"', '"other"');
    const options: EventOptions = { database: 'shop' };
    expect(read(new CsvlogReader(options), text)).toMatchObject({ sql: ['a'], counters: { elsewhere: 1 } });
  });
});

describe('sampling', () => {
  const off: Sampling = { minDuration: -1, minDurationSample: -1, statementRate: 1, transactionRate: 0 };
  test.each<[number, Partial<Sampling>, number]>([
    [5, {}, 1],
    [5, { minDuration: 0 }, 1],
    [5, { minDurationSample: 0, statementRate: 0.25 }, 4],
    [5, { minDurationSample: 5, statementRate: 0.25 }, 4],
    [4.999, { minDurationSample: 5, statementRate: 0.25, transactionRate: 0.5 }, 2],
    [5, { minDurationSample: 0, statementRate: 0.5, transactionRate: 0.5 }, 4 / 3],
    [100, { minDuration: 100, minDurationSample: 10, statementRate: 0.1 }, 1], // over the limit all are logged
    [99.9, { minDuration: 100, minDurationSample: 10, statementRate: 0.1 }, 10],
    [5, { minDurationSample: 10, statementRate: 0.1 }, 1], // not by these settings
    [5, { minDurationSample: 0, statementRate: 0 }, 1],
  ])('%d ms with %j weighs %d', (duration, sampling, weight) => {
    expect(weightOf(duration, { ...off, ...sampling })).toBeCloseTo(weight, 12);
  });

  test('settings as SHOW and pg_settings give them', () => {
    const settings = {
      log_min_duration_statement: '1min',
      log_min_duration_sample: '250ms',
      log_statement_sample_rate: '0.25',
      log_transaction_sample_rate: '0.01',
    };
    const same = { ...settings, log_min_duration_statement: '60000', log_min_duration_sample: '250' };
    const sampling = {
      minDuration: 60_000,
      minDurationSample: 250,
      statementRate: 0.25,
      transactionRate: 0.01,
    };
    expect(samplingOf(settings)).toEqual(sampling);
    expect(samplingOf(same)).toEqual(sampling);
    expect(samplingOf({})).toEqual(off);
    expect(logOptionsOf({ ...settings, log_parameter_max_length: '1kB', log_line_prefix: '%m ' })).toEqual({
      sampling,
      parameterMaxLength: 1024,
      linePrefix: '%m ',
    });
  });

  test('only what was logged because of its duration weighs more', () => {
    const sampling = samplingOf({ log_min_duration_sample: '0', log_statement_sample_rate: '0.1' });
    const prefix = '%m [%p] ';
    const text = ['duration: 0.5 ms  statement: a', 'statement: b']
      .map((message) => `${print(prefix)}LOG:  ${message}\n`)
      .join('');
    const { out } = read(new StderrReader(compileLinePrefix(prefix), { sampling }), text);
    expect(out.map(({ weight }) => weight)).toEqual([10, 1]);
  });
});

describe('cut parameters', () => {
  test.each<[number | undefined, (string | null)[], number[] | null]>([
    [-1, ['abc...'], null],
    [undefined, ['abc...', null, 'abc', '...'], [0, 3]],
    [8, ['abcdefgh...', 'abcdefgh', 'ab...', null], [0]],
    [8, ['abcde...'], [0]], // as long as the limit: it may be a cut one whose last character had four bytes
    [8, ['abcd...'], null],
    [8, ['éééé...'], [0]],
    [8, ['abcdefgh..'], null],
  ])('with log_parameter_max_length %s, of %j', (maxLength, values, positions) => {
    expect(truncatedAmong(values, maxLength)).toEqual(positions);
  });
});

describe('finding the format of files', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'foreshadow-formats-'));
  });
  afterEach(() => rm(folder, { recursive: true }));
  const json =
    '{"timestamp":"2026-05-01 12:00:00.000 UTC","pid":1,"error_severity":"LOG","message":"duration: 1 ms  statement: json"}\n';
  const csv = `2026-05-01 12:00:00.000 UTC,"a","d",1,"h:5",s,1,"X",2026-05-01 12:00:00 UTC,3/7,0,LOG,00000,"duration: 1 ms  statement: csv",,,,,,,,,"web","client backend",,0\n`;
  const stderr = '2026-05-01 12:00:00.000 UTC [1] a@d LOG:  duration: 1 ms  statement: stderr\n';
  const all = async (glob: string, options = {}) => {
    const counters = newLogCounters();
    const sql: string[] = [];
    for await (const batch of readLog(join(folder, glob), { counters, ...options }))
      sql.push(...batch.map((s) => s.sql));
    return { sql: sql.sort(), counters };
  };

  test('by what is in them, whatever they are called', async () => {
    await writeFile(join(folder, 'a.txt'), json);
    await writeFile(join(folder, 'b.log'), csv);
    await writeFile(join(folder, 'c'), stderr);
    await writeFile(join(folder, 'd.empty'), '');
    await writeFile(join(folder, 'e.odd'), 'what is this\n');
    const { sql, counters } = await all('*');
    expect(sql).toEqual(['csv', 'json', 'stderr']);
    expect(counters.malformed).toBe(1);
  });

  test('of one log in several formats one file is read', async () => {
    await writeFile(join(folder, 'pg-1.json'), json);
    await writeFile(join(folder, 'pg-1.csv'), csv);
    await writeFile(join(folder, 'pg-1.log'), stderr);
    await writeFile(join(folder, 'pg-2.csv'), csv);
    await writeFile(join(folder, 'pg-2.log'), stderr);
    await writeFile(join(folder, 'pg-3.log.1'), stderr);
    await writeFile(join(folder, 'pg-4.json'), '');
    await writeFile(join(folder, 'pg-4.log'), stderr);
    const found = await all('pg*');
    expect(found.sql).toEqual(['csv', 'json', 'stderr', 'stderr']);
    expect(found.counters.duplicateFiles).toBe(3);
    expect((await all('pg-1.*', { format: 'csvlog' })).sql).toEqual(['csv']);
    expect((await all('pg-1.log')).sql).toEqual(['stderr']);
  });

  test.each([
    ['cannot tell the format', 'some text\nand more\n', {}],
    ['none of the usual prefixes', '01/05/2026 12:00 [1] LOG:  statement: x\n', {}],
    ["do not begin with log_line_prefix '%t:%p '", stderr, { linePrefix: '%t:%p ' }],
    ['not written in English', '2026-05-01 12:00:00.000 UTC [1] ОШИБКА:  x\n', {}],
    ['not written in English', csv.replace('LOG', 'ОШИБКА'), {}],
    ['not written in English', json.replace('"LOG"', '"ОШИБКА"'), {}],
  ])('refuses with "%s" and a hint', async (message, text, options) => {
    const path = join(folder, 'a.log');
    await writeFile(path, text);
    const refusal = {
      code: 'LOG_FORMAT',
      message: expect.stringContaining(message),
      hint: expect.stringContaining('linePrefix'),
    };
    await expect(requireReadableLog(path, options)).rejects.toMatchObject(refusal);
    await expect(all('a.log', options)).rejects.toMatchObject(refusal);
  });

  test('a session that has written a hundred thousand lines is none of another language', async () => {
    await writeFile(join(folder, 'a.csv'), csv.replace(',s,1,', ',6b08b1ce.639b,12345,'));
    expect((await all('a.csv')).sql).toEqual(['csv']);
  });

  test('the prefix of a server that writes csvlog does not matter', async () => {
    await writeFile(join(folder, 'a.csv'), csv);
    expect((await all('a.csv', { linePrefix: '' })).sql).toEqual(['csv']);
  });
});
