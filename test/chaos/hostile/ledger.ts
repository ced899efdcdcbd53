import { execFile } from 'node:child_process';
import { appendFile, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Report } from './bench.ts';

/** Every run of the hostile bench, one line each. Survived seeds are counted from it, nowhere by hand. */
export const ledgerFile = fileURLToPath(new URL('../../../docs/chaos-ledger.jsonl', import.meta.url));

export interface LedgerLine {
  readonly at: string;
  readonly commit: string;
  /** uncommitted changes were there */
  readonly dirty: boolean;
  readonly from: number;
  readonly seeds: number;
  readonly kills: number;
  readonly restarts: number;
  readonly writer_ops: number;
  readonly failed: readonly number[];
}

export async function appendToLedger(from: number, report: Report): Promise<void> {
  const git = async (...args: string[]) => (await promisify(execFile)('git', args)).stdout.trim();
  const line: LedgerLine = {
    at: new Date().toISOString().slice(0, 19),
    commit: await git('rev-parse', '--short=10', 'HEAD').catch(() => 'unknown'),
    dirty: (await git('status', '--porcelain', '--', 'src', 'test/chaos').catch(() => '')) !== '',
    from,
    seeds: report.seeds,
    kills: report.kills,
    restarts: report.restarts,
    writer_ops: report.writer_ops,
    failed: report.failed_seeds,
  };
  await appendFile(ledgerFile, `${JSON.stringify(line)}\n`);
}

export interface Survival {
  readonly runs: number;
  readonly seeds: number;
  readonly survived: number;
  readonly kills: number;
  readonly writer_ops: number;
}

/** Sums of a ledger's lines. */
export function countLedger(text: string): Survival {
  const lines = text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as LedgerLine);
  const sum = (of: (line: LedgerLine) => number) => lines.reduce((total, line) => total + of(line), 0);
  return {
    runs: lines.length,
    seeds: sum((line) => line.seeds),
    survived: sum((line) => line.seeds - line.failed.length),
    kills: sum((line) => line.kills),
    writer_ops: sum((line) => line.writer_ops),
  };
}

export const readLedger = () => readFile(ledgerFile, 'utf8').catch(() => '');
