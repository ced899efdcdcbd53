import type { State } from './state.ts';

/** Takes a step: says what it does, and changes a copy of the state. */
export type Take = (what: string, change: (next: State) => void) => void;

export const keyName = (key: number) => ['a', 'b'][key] as string;
export const rowName = (row: number) => ['nothing', 'a0', 'b0', 'v1', 'v2', 'v3'][row] as string;
export const rowsName = (rows: readonly number[]) =>
  `{${rows.flatMap((row, key) => (row ? [`${keyName(key)}: ${rowName(row)}`] : [])).join(', ')}}`;
