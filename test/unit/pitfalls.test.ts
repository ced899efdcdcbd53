import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const mostPitfalls = 49;

interface Pitfall {
  readonly id: string;
  readonly happens: string;
  readonly rule: string;
  readonly proof: string;
}

const pitfalls: Pitfall[] = readFileSync(join(root, 'docs/pitfalls.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\| P\d/.test(line))
  .map((line) => {
    const [id = '', happens = '', rule = '', proof = '', ...more] = line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim());
    expect(more, `columns of ${id}`).toEqual([]);
    return { id, happens, rule, proof };
  });

/** Names of tests, and names in the tables of cases that `each` takes: every string literal of a file. */
function titlesIn(file: string): Set<string> {
  const text = readFileSync(join(root, file), 'utf8');
  return new Set(
    [...text.matchAll(/'([^'\n]*)'|"([^"\n]*)"|`([^`\n]*)`/g)].flatMap((found) => found.slice(1)),
  );
}

describe('docs/pitfalls.md', () => {
  test('has every pitfall, each once, in order', () => {
    const ids = Array.from({ length: mostPitfalls }, (_, i) => `P${i + 1}`);
    expect(pitfalls.map((each) => each.id)).toEqual(ids);
    expect(pitfalls.filter((each) => each.happens === '')).toEqual([]);
  });

  test.each(pitfalls)('$id is proved by a test that exists, or says why it does not apply', ({
    proof,
    rule,
  }) => {
    if (proof.startsWith('not applicable: ')) return;
    expect(rule).not.toBe('');
    for (const named of proof.split('<br>')) {
      const [, file, title] = /^`(test\/[\w/-]+\.test\.ts)` › `(.+)`$/.exec(named) ?? [];
      expect(file, `${named} names a file and a title`).toBeDefined();
      expect(existsSync(join(root, file as string)), `${file} is there`).toBe(true);
      expect(titlesIn(file as string), `${file} has this test`).toContain(title);
    }
  });
});
