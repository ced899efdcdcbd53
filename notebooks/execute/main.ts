import { readdir, readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Kernel } from './kernel.ts';
import { type Cell, type Notebook, serialise, stored, textOf } from './notebook.ts';

/** Executes notebooks from top to bottom, each in a fresh kernel, and stores what their cells put out. */
const directory = fileURLToPath(new URL('..', import.meta.url));
const cellTimeoutMs = 15 * 60_000;

const { values, positionals } = parseArgs({
  options: { check: { type: 'boolean', default: false } },
  allowPositionals: true,
});
// a signal ends the kernel too: see Kernel.start
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.once(signal, () => process.exit(code));
const names = positionals.length > 0 ? positionals : await allNotebooks();
for (const name of names) {
  const path = resolve(directory, name);
  const before = await readFile(path, 'utf8');
  const began = performance.now();
  const after = await executed(name, JSON.parse(before) as Notebook);
  const took = `${((performance.now() - began) / 1000).toFixed(1)} s`;
  if (after === before) say(`${name}: as before (${took})`);
  else if (values.check) {
    say(`${name}: its outputs differ from those that are stored (${took})`);
    process.exitCode = 1;
  } else {
    await writeFile(path, after);
    say(`${name}: written (${took})`);
  }
}

async function allNotebooks(): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.endsWith('.ipynb')).sort();
}

/** @returns the notebook's new text; ends this process with 1 at the first cell that fails */
async function executed(name: string, notebook: Notebook): Promise<string> {
  const kernel = await Kernel.start(directory);
  try {
    for (const [i, cell] of notebook.cells.entries()) {
      if (cell.cell_type !== 'code') continue;
      const { ok, count, outputs } = await kernel.execute(textOf(cell.source), cellTimeoutMs);
      cell.execution_count = count;
      cell.outputs = outputs.map(stored);
      if (!ok) await failed(name, i, cell, kernel);
    }
  } finally {
    await kernel.stop();
  }
  return serialise(notebook);
}

async function failed(name: string, index: number, cell: Cell, kernel: Kernel): Promise<never> {
  const texts = (cell.outputs as { text?: string[] }[]).map(({ text }) => (text ? textOf(text) : ''));
  say(`${name}: cell ${index + 1} (${cell.id}) failed\n${texts.join('')}`);
  await kernel.stop();
  process.exit(1);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
