import { expect, test } from 'vitest';
import { keepsKeysApart, lanesFor, partialKeyColumns } from '../../src/migration/key-map.ts';

const map = (source: [string, string][], target: [value: string, type: string][]) => ({
  sourceKey: source.map(([name, type]) => ({ name, type })),
  targetKey: target.map(([value, type]) => ({ value, type })),
});

const one = (from: string, value: string, to: string) => map([['k', from]], [[value, to]]);

/** from, expression, to; keys stay apart; every key has a value */
const cases: [from: string, value: string, to: string, apart: boolean, total: boolean][] = [
  ['integer', 's.k', 'integer', true, true],
  ['text', 's.k', 'text', true, true],
  ['citext', 's.k', 'citext', true, true],
  ['integer', '(s.k)::bigint', 'bigint', true, true],
  ['bigint', '(s.k)::integer', 'integer', true, false],
  ['integer', '(s.k)::text', 'text', true, true],
  ['numeric', '(s.k)::text', 'text', true, true],
  ['uuid', '(s.k)::text', 'text', true, true],
  ['uuid', '(((s.k)::text) collate "C")', 'text', true, true],
  // these let different keys meet, now or later
  ['text', 'lower(s.k)', 'text', false, true],
  ['text', 'upper(s.k)', 'text', false, true],
  ['text', '((s.k) collate "nd")', 'text', false, true],
  ['text', '(s.k)::character varying(3)', 'character varying(3)', false, false],
  ['numeric', '(s.k)::integer', 'integer', false, false],
  ['numeric', '(s.k)::numeric(5,0)', 'numeric(5,0)', false, false],
  ['text', '(s.k)::integer', 'integer', false, false],
  ['text', '(s.k)::uuid', 'uuid', false, false],
  ['integer', '(s.k / 2)', 'integer', false, false],
  ['integer', 'NULLIF(s.k, 5)', 'integer', false, false],
  [
    'timestamp with time zone',
    "date_trunc('day'::text, s.k, 'UTC'::text)",
    'timestamp with time zone',
    false,
    false,
  ],
  ['integer', 's.other', 'integer', false, false],
];

test.each(cases)('%s: %s → %s', (from, value, to, apart, total) => {
  expect(keepsKeysApart(one(from, value, to))).toBe(apart);
  expect(lanesFor(one(from, value, to), 4), 'one lane where keys may meet').toBe(apart ? 4 : 1);
  expect(partialKeyColumns(one(from, value, to))).toHaveLength(total ? 0 : 1);
});

test('a composite key keeps keys apart only if each of its columns does', () => {
  const source: [string, string][] = [
    ['a', 'integer'],
    ['Odd name', 'text'],
  ];
  const whole = map(source, [
    ['(s.a)::bigint', 'bigint'],
    ['s."Odd name"', 'text'],
  ]);
  expect(lanesFor(whole, 3)).toBe(3);
  const folded = map(source, [
    ['(s.a)::bigint', 'bigint'],
    ['lower(s."Odd name")', 'text'],
  ]);
  expect(lanesFor(folded, 3)).toBe(1);
  expect(partialKeyColumns(folded)).toEqual([]);
});
