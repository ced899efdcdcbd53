import { readFileSync } from 'node:fs';
import type { MigrationFile } from '../../src/config/migration-file.ts';
import type { Part } from './migrations.ts';

export interface Recipe {
  readonly title: string;
  /** makes both tables */
  readonly sql: string;
  readonly file: Part<MigrationFile> & {
    readonly name: string;
    readonly source: string;
    readonly target: string;
  };
}

/** The entries of docs/cookbook.md: the blocks that a reader copies are the ones that are tried. */
export function readCookbook(): Recipe[] {
  const text = readFileSync(new URL('../../docs/cookbook.md', import.meta.url), 'utf8');
  return text
    .split(/^## /m)
    .slice(1)
    .map((entry) => {
      const block = (language: string) => {
        const found = [...entry.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))];
        if (found.length !== 1)
          throw new Error(`an entry needs one ${language} block: ${entry.slice(0, 40)}`);
        return found[0]?.[1] as string;
      };
      return { title: entry.split('\n', 1)[0] as string, sql: block('sql'), file: JSON.parse(block('json')) };
    });
}
