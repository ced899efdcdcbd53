import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { mutants } from '../chaos/hostile/mutants.ts';
import { replaced } from '../chaos/hostile/workers.ts';

it.each(
  mutants.map((mutant) => [mutant.name, mutant] as const),
)('the source has the safety that a mutant switches off: %s', async (_, { replacements }) => {
  const texts = new Map<string, string>();
  for (const each of replacements) {
    const path = fileURLToPath(new URL(`../../src/${each.file}`, import.meta.url));
    const before = texts.get(path) ?? (await readFile(path, 'utf8'));
    texts.set(path, replaced(before, each));
  }
  expect(texts.size).toBeGreaterThan(0);
});

it('a safety that is not where a mutant looks for it is told', () => {
  const replacement = { file: 'a.ts', from: 'b', to: '' };
  expect(() => replaced('c', replacement)).toThrow('a.ts holds this 0 times, not once: b');
  expect(() => replaced('bcb', replacement)).toThrow('2 times');
});
