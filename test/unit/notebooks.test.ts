import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { linesOf, type Notebook, serialise } from '../../notebooks/execute/notebook.ts';

const folder = new URL('../../notebooks/', import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith('.ipynb'));

type Json = Readonly<Record<string, unknown>>;

test('there are notebooks', () => {
  expect(names.length).toBeGreaterThan(0);
});

describe.each(names)('%s', (name) => {
  const text = readFileSync(new URL(name, folder), 'utf8');
  const notebook = JSON.parse(text) as Notebook;
  const code = notebook.cells.filter(({ cell_type }) => cell_type === 'code');

  test('is valid nbformat 4.5', () => {
    expect(problems(notebook)).toEqual([]);
  });

  test('is written as Jupyter would write it', () => {
    expect(serialise(notebook)).toBe(text);
  });

  test('was executed from top to bottom, and every code cell shows something', () => {
    expect(code.map((cell) => cell.execution_count)).toEqual(code.map((_, i) => i + 1));
    expect(code.filter(({ outputs }) => !outputs?.length).map(({ id }) => id)).toEqual([]);
  });

  test('has no errors and no warnings', () => {
    const outputs = code.flatMap((cell) => cell.outputs as Json[]);
    expect(outputs.filter((output) => output.output_type === 'error')).toEqual([]);
    expect(outputs.filter((output) => output.name === 'stderr')).toEqual([]);
  });

  test('has a plot', () => {
    const plots = code
      .flatMap((cell) => cell.outputs as Json[])
      .filter((output) => output.data !== undefined);
    const svgs = plots.map((output) => (output.data as Record<string, string[]>)['image/svg+xml']?.join(''));
    expect(svgs.length).toBeGreaterThan(0);
    for (const svg of svgs) expect(svg).toMatch(/^<svg [\s\S]*<\/svg>\s*$/);
  });

  test('names no folder of the machine it was executed on', () => {
    const withoutMarkup = text.replaceAll(/<\/?[a-z]+[^>]*>/gi, '');
    expect(withoutMarkup.match(/(?<![\w.~>)])\/(?:[\w.-]+\/)+[\w.-]*/g) ?? []).toEqual([]);
    expect(withoutMarkup).not.toMatch(/\b[A-Z]:\\\\|file:\/\//);
  });
});

test('a text keeps its newlines', () => {
  expect(linesOf('a\n\nb')).toEqual(['a\n', '\n', 'b']);
  expect(linesOf('a\n')).toEqual(['a\n']);
  expect(linesOf('')).toEqual([]);
});

test('finds what makes a notebook invalid', () => {
  const cell = { cell_type: 'code', id: 'a', metadata: {}, source: [], outputs: [], execution_count: 1 };
  const of = (...cells: object[]) => problems({ nbformat: 4, nbformat_minor: 5, metadata: {}, cells });
  expect(of(cell)).toEqual([]);
  expect(of(cell, cell)).toEqual(['cell 2: its id is taken']);
  expect(of({ ...cell, id: 'a b' })).toEqual(['cell 1: id']);
  expect(of({ ...cell, cell_type: 'markdown' })).toEqual(['cell 1: keys of a markdown cell']);
  expect(of({ ...cell, outputs: [{ output_type: 'stream', name: 'stdout' }] })).toEqual([
    'cell 1: stream output',
  ]);
  expect(of({ ...cell, outputs: [{ output_type: 'plot' }] })).toEqual(['cell 1: output type plot']);
  expect(of({ ...cell, source: [1] })).toEqual(['cell 1: source']);
});

/** The rules of nbformat's JSON schema for 4.5, as far as they concern cells and what we put into them. */
function problems(notebook: unknown): string[] {
  const found: string[] = [];
  const { nbformat, nbformat_minor, metadata, cells, ...others } = notebook as Json;
  if (nbformat !== 4 || nbformat_minor !== 5) found.push('not nbformat 4.5');
  if (!isObject(metadata) || Object.keys(others).length > 0 || !Array.isArray(cells))
    return [...found, 'top level'];
  const ids = new Set<unknown>();
  for (const [i, cell] of (cells as Json[]).entries()) {
    const say = (what: string) => found.push(`cell ${i + 1}: ${what}`);
    if (!/^[\w-]{1,64}$/.test(String(cell.id))) say('id');
    if (ids.has(cell.id)) say('its id is taken');
    ids.add(cell.id);
    if (!isText(cell.source)) say('source');
    if (!isObject(cell.metadata)) say('metadata');
    const keys = Object.keys(cell).sort().join();
    const expected = cellKeys[String(cell.cell_type)];
    if (keys !== expected) say(`keys of a ${cell.cell_type} cell`);
    else if (cell.cell_type === 'code') codeProblems(cell, say);
  }
  return found;
}

const cellKeys: Readonly<Record<string, string>> = {
  code: 'cell_type,execution_count,id,metadata,outputs,source',
  markdown: 'cell_type,id,metadata,source',
  raw: 'cell_type,id,metadata,source',
};

function codeProblems(cell: Json, say: (what: string) => void): void {
  const { execution_count: count, outputs } = cell;
  if (count !== null && !(Number.isInteger(count) && (count as number) >= 0)) say('execution_count');
  if (!Array.isArray(outputs)) say('outputs');
  for (const output of Array.isArray(outputs) ? (outputs as Json[]) : []) {
    const keys = Object.keys(output).sort().join();
    switch (output.output_type) {
      case 'stream':
        if (keys !== 'name,output_type,text' || !isText(output.text)) say('stream output');
        break;
      case 'display_data':
        if (keys !== 'data,metadata,output_type' || !isObject(output.data) || !isObject(output.metadata))
          say('display_data output');
        else if (!Object.values(output.data).every(isText)) say('data of an output');
        break;
      default:
        say(`output type ${output.output_type}`);
    }
  }
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): boolean =>
  typeof value === 'string' || (Array.isArray(value) && value.every((line) => typeof line === 'string'));
