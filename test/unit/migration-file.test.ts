import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseMigrationFile, readMigrationFile, seconds } from '../../src/config/migration-file.ts';
import { failure } from './failure.ts';

const least = { name: 'orders-v2', source: 'public.orders', target: 'public.orders_v2', key: ['id'] };

test('four fields are enough; everything else has its default', () => {
  const file = parseMigrationFile(least);
  expect(file).toMatchObject({
    ...least,
    map: {},
    shadow: {
      fraction: 0.1,
      seed: 1,
      weights: { predictive: 0.7, frequency: 0.1, change: 0.1, random: 0.1 },
    },
    confidence: {
      threshold: 0.95,
      fieldThreshold: 0.85,
      consecutive: 3,
      weights: { similarity: 0.7, changeRate: 0.3 },
    },
    cutover: { reads: 'when-confident', writes: 'operator', finish: 'swap' },
  });
  // what is filled in is accepted again, and the document given is left alone
  expect(parseMigrationFile(file)).toEqual(file);
  expect(least).toEqual({
    name: 'orders-v2',
    source: 'public.orders',
    target: 'public.orders_v2',
    key: ['id'],
  });
});

test('holidays of a place', () => {
  const holidays = { country: 'DE', region: 'BY', timeZone: 'Europe/Berlin' };
  expect(parseMigrationFile({ ...least, predict: { holidays } }).predict.holidays).toEqual(holidays);
  const { region: _, ...country } = holidays;
  expect(parseMigrationFile({ ...least, predict: { holidays: country } }).predict.holidays).toEqual(country);
});

const withHolidays = (holidays: object) => ({ ...least, predict: { holidays } });
const without = (field: string) =>
  Object.fromEntries(Object.entries(least).filter(([name]) => name !== field));
const bad: [title: string, document: unknown, says: RegExp][] = [
  ['null', null, /migration file/],
  ['an array', [], /migration file/],
  ['a number', 5, /migration file/],
  ['a text', 'orders', /migration file/],
  ['nothing at all', {}, /name|required/],
  ...['name', 'source', 'target', 'key'].map((field): [string, unknown, RegExp] => [
    `no ${field}`,
    without(field),
    new RegExp(field),
  ]),
  ['a name with blanks', { ...least, name: 'my orders' }, /"name"/],
  ['a name that leaves its folder', { ...least, name: '../up' }, /"name"/],
  ['a name that is too long', { ...least, name: 'x'.repeat(41) }, /"name"/],
  ['an empty key', { ...least, key: [] }, /"key"/],
  ['a key that is no list', { ...least, key: 'id' }, /"key"/],
  [
    'holidays of nowhere',
    withHolidays({ country: 'XX', timeZone: 'Europe/Berlin' }),
    /"predict\.holidays\.country" is no country whose holidays are known: "XX"/,
  ],
  [
    'holidays of an unknown region',
    withHolidays({ country: 'DE', region: 'QQ', timeZone: 'Europe/Berlin' }),
    /"predict\.holidays\.region" is no region of DE: "QQ"; known: BB, BE/,
  ],
  [
    'holidays in an unknown time zone',
    withHolidays({ country: 'DE', timeZone: 'Berlin' }),
    /"predict\.holidays\.timeZone" is no time zone: "Berlin"/,
  ],
  ['holidays without a time zone', withHolidays({ country: 'DE' }), /timeZone/],
  [
    'a country in words',
    withHolidays({ country: 'Germany', timeZone: 'UTC' }),
    /"predict\.holidays\.country"/,
  ],
  ['an unknown field', { ...least, colour: 'red' }, /unknown fields: colour/],
  [
    'an unknown field further in',
    { ...least, shadow: { fractoin: 0.1 } },
    /"shadow" has unknown fields: fractoin/,
  ],
  [
    'an unknown weight',
    { ...least, shadow: { weights: { luck: 1 } } },
    /"shadow.weights" has unknown fields: luck/,
  ],
  ['an empty expression', { ...least, map: { amount: '' } }, /"map\.amount"/],
  ['an expression that is no text', { ...least, map: { amount: 5 } }, /"map\.amount"/],
  ['an invariant without a name', { ...least, invariants: [{ sql: 'true' }] }, /"invariants\.0"/],
  ['a fraction of everything', { ...least, shadow: { fraction: 1 } }, /"shadow\.fraction"/],
  ['a fraction as text', { ...least, shadow: { fraction: '0.1' } }, /"shadow\.fraction"/],
  [
    'weights that do not sum to one',
    { ...least, shadow: { weights: { predictive: 0.9 } } },
    /"shadow\.weights" must sum to 1, not 1\.2/,
  ],
  [
    'weights of confidence that do not sum to one',
    { ...least, confidence: { weights: { similarity: 0.5 } } },
    /"confidence\.weights" must sum to 1, not 0\.8/,
  ],
  [
    'a negative weight',
    { ...least, shadow: { weights: { predictive: -0.1, random: 0.9 } } },
    /"shadow\.weights\.predictive"/,
  ],
  ['a duration without a unit', { ...least, predict: { horizon: '15' } }, /"predict\.horizon"/],
  ['a duration in weeks', { ...least, confidence: { window: '2w' } }, /"confidence\.window"/],
  ['a finish that is none', { ...least, cutover: { finish: 'jump' } }, /"cutover\.finish"/],
  ['no lanes', { ...least, copy: { lanes: 0 } }, /"copy\.lanes"/],
  ['half a row', { ...least, copy: { chunkRows: 0.5 } }, /"copy\.chunkRows"/],
  ['a log without a path', { ...least, queryLog: {} }, /"queryLog"/],
];

test.each(bad)('%s is refused, and the field is named', (_, document, says) => {
  const error = failure(() => parseMigrationFile(document));
  expect(error).toMatchObject({
    code: 'BAD_MIGRATION_FILE',
    exitCode: 2,
    hint: expect.stringMatching(/field that the message names/),
  });
  expect(error.message).toMatch(says);
});

test('weights may be off by a rounding', () => {
  const weights = { predictive: 0.1, frequency: 0.2, change: 0.3, random: 0.4 };
  expect(parseMigrationFile({ ...least, shadow: { weights } }).shadow.weights).toEqual(weights);
});

describe('files', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'foreshadow-files-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const file = async (text: string) => {
    const path = join(folder, 'migration.json');
    await writeFile(path, text);
    return path;
  };

  test('are read', async () => {
    expect((await readMigrationFile(await file(JSON.stringify(least)))).name).toBe('orders-v2');
  });
  test.each([
    ['', 'is not JSON'],
    ['{"name": ', 'is not JSON'],
    ["{name: 'x'}", 'is not JSON'],
    [`${JSON.stringify(least)} // comment`, 'is not JSON'],
  ])('that hold %j are refused with their path', async (text, says) => {
    const path = await file(text);
    await expect(readMigrationFile(path)).rejects.toMatchObject({
      code: 'BAD_MIGRATION_FILE',
      message: expect.stringContaining(`${path} ${says}`),
    });
  });
  test('that are not there, or folders', async () => {
    for (const path of [join(folder, 'none.json'), folder])
      await expect(readMigrationFile(path)).rejects.toMatchObject({
        code: 'BAD_MIGRATION_FILE',
        message: `cannot read ${path}`,
      });
  });
});

test('durations', () => {
  expect(['250ms', '30s', '15m', '1.5h', '1d'].map(seconds)).toEqual([0.25, 30, 900, 5400, 86400]);
  for (const text of ['', '5', 's', '5 s', '-5s', '5w', '1e3s'])
    expect(failure(() => seconds(text))).toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringContaining(`not a duration: ${text}`),
    });
});
