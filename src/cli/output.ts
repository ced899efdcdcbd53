import { type Command, InvalidArgumentError } from 'commander';
import { type Config, loadConfig } from '../config/config.ts';
import { readEnvironment } from '../config/env.ts';
import { type Context, createContext } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';

export interface CommonFlags {
  readonly json?: boolean;
}

/** stdout carries the result and nothing else. */
export function print(document: unknown): void {
  process.stdout.write(`${JSON.stringify(document, null, process.stdout.isTTY ? 2 : 0)}\n`);
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Progress and remarks; never part of the result. */
export function remark(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** For options that are numbers: `Number` alone would let `--grace soon` through as NaN. */
export function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('It must be a number.');
  return value;
}

export function describeError(error: unknown): Record<string, unknown> {
  if (error instanceof ForeshadowError) {
    return {
      code: error.code,
      message: error.message,
      hint: error.hint,
      exit_code: error.exitCode,
      detail: error.detail,
    };
  }
  return {
    code: 'UNEXPECTED',
    message: error instanceof Error ? error.message : String(error),
    exit_code: 1,
  };
}

export function configOf(command: Command): Config {
  const flags = command.optsWithGlobals() as {
    databaseUrl?: string;
    models?: string;
    logLevel?: Config['logLevel'];
  };
  return loadConfig(readEnvironment(), {
    ...(flags.databaseUrl ? { databaseUrl: flags.databaseUrl } : {}),
    ...(flags.models ? { modelsDir: flags.models } : {}),
    ...(flags.logLevel ? { logLevel: flags.logLevel } : {}),
  });
}

/** Runs a verb with a context that is closed at the end, whatever happens. */
export async function withContext<T>(command: Command, body: (ctx: Context) => Promise<T>): Promise<T> {
  const ctx = await createContext(configOf(command));
  try {
    return await body(ctx);
  } finally {
    await ctx.close();
  }
}

/** Aborted by the first Ctrl-C or SIGTERM; a second one ends the process at once. */
export async function interruptible<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(130);
    remark('foreshadow: stopping at the next safe point (again to stop at once)');
    controller.abort(new ForeshadowError('INTERRUPTED', 'interrupted'));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    return await body(controller.signal);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

/** Aligned columns of plain text. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0))).join('  '),
    )
    .join('\n');
}
