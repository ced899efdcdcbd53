/** nbformat 4.5, as far as we write it. Texts may be one string or a list of lines; we write lists. */
export interface Notebook {
  readonly nbformat: number;
  readonly nbformat_minor: number;
  readonly metadata: object;
  readonly cells: Cell[];
}

export interface Cell {
  readonly id: string;
  readonly cell_type: 'code' | 'markdown' | 'raw';
  readonly metadata: object;
  readonly source: string | string[];
  execution_count?: number | null;
  outputs?: unknown[];
}

export type Output =
  | { readonly output_type: 'stream'; readonly name: string; text: string }
  | {
      readonly output_type: 'display_data';
      readonly data: Readonly<Record<string, string>>;
      readonly metadata: object;
    };

export const textOf = (source: string | string[]): string =>
  Array.isArray(source) ? source.join('') : source;

/** A text as nbformat likes it: lines that keep their newlines. */
export function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** An output as it is stored: every text as lines, so that a change of one shows as one line in a diff. */
export function stored(output: Output): unknown {
  if (output.output_type === 'stream') return { ...output, text: linesOf(output.text) };
  const data = Object.entries(output.data).map(([type, text]) => [type, linesOf(text)]);
  return { ...output, data: Object.fromEntries(data) };
}

/** The file's text: keys in alphabetical order and an indent of one, as Jupyter itself writes it. */
export function serialise(notebook: Notebook): string {
  return `${JSON.stringify(sorted(notebook), null, 1)}\n`;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
