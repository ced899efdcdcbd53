import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { publishedSchema } from '../../src/config/published-schema.ts';

const published = JSON.parse(
  readFileSync(new URL('../../docs/migration.schema.json', import.meta.url), 'utf8'),
);

test('docs/migration.schema.json is what the code checks (npm run schema writes it)', () => {
  expect(published).toEqual(publishedSchema());
});

test('an editor accepts the smallest file and refuses a misspelt field', () => {
  const validate = new Ajv2020({ strict: false }).compile(published);
  const smallest = { name: 'a', source: 'public.a', target: 'public.b', key: ['id'] };
  expect(validate(smallest)).toBe(true);
  expect(validate({ ...smallest, taget: 'x' })).toBe(false);
  expect(validate({ ...smallest, shadow: { fraction: 2 } })).toBe(false);
});
