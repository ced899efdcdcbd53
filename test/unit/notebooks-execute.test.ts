import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { decode, encode } from '../../notebooks/execute/messages.ts';
import type { Notebook } from '../../notebooks/execute/notebook.ts';

const notebooks = fileURLToPath(new URL('../../notebooks/', import.meta.url));

describe('messages of a kernel', () => {
  const request = { id: 'one', type: 'execute_request', session: 's', content: { code: '1 + 1' } };

  test('are read behind any number of identities', () => {
    const frames = [Buffer.from('who'), ...encode('secret', request)];
    expect(decode('secret', frames)).toEqual({
      type: 'execute_request',
      parent: '',
      content: { code: '1 + 1' },
    });
  });

  test('are refused when another key has signed them, or none', () => {
    const frames = encode('secret', request);
    expect(() => decode('another', frames)).toThrow('not signed by the kernel');
    expect(() => decode('secret', frames.slice(0, 3))).toThrow('not a message');
    expect(() => decode('secret', [])).toThrow('not a message');
  });
});

// the kernel is a dependency of the notebooks, not of the product
describe.skipIf(!existsSync(join(notebooks, 'node_modules/tslab')))('execution', { timeout: 120_000 }, () => {
  test('stores what a cell puts out; a value of an earlier cell is there', async () => {
    const { code, after } = await executed([
      'const a: number = 20;',
      'console.log(a + 1);\nconsole.log(a + 2);',
    ]);
    expect(code).toBe(0);
    expect(after.cells.map((cell) => cell.execution_count)).toEqual([1, 2]);
    expect(after.cells[1]!.outputs).toEqual([
      { output_type: 'stream', name: 'stdout', text: ['21\n', '22\n'] },
    ]);
  });

  test('ends with 1 at the first cell that fails, names it, and leaves the notebook alone', async () => {
    const { code, output, before, after } = await executed([
      'console.log(1);',
      "throw new Error('no more');",
      "require('node:fs').writeFileSync('/nowhere/at/all', '');",
    ]);
    expect(code).toBe(1);
    expect(output).toMatch(/cell 2 \(c2\) failed[\s\S]*no more/);
    expect(output).not.toContain('nowhere');
    expect(after).toEqual(before);
  });
});

async function executed(cells: readonly string[]) {
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-notebook-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'some.ipynb');
  const before: Notebook = {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {},
    cells: cells.map((source, i) => ({
      id: `c${i + 1}`,
      cell_type: 'code',
      metadata: {},
      source: [source],
      execution_count: null,
      outputs: [],
    })),
  };
  await writeFile(path, JSON.stringify(before));
  const { code, output } = await new Promise<{ code: number; output: string }>((done) => {
    const program = ['--import', 'tsx', 'execute/main.ts', path];
    execFile(process.execPath, program, { cwd: notebooks }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code) : 0, output: stdout + stderr }),
    );
  });
  return { code, output, before, after: JSON.parse(await readFile(path, 'utf8')) as Notebook };
}
