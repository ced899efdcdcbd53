import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type MigrationFile, parseMigrationFile } from '../../src/config/migration-file.ts';
import { type Context, createContext } from '../../src/context.ts';
import { systemClock } from '../../src/core/clock.ts';
import { type ErrorCode, ForeshadowError } from '../../src/core/errors.ts';
import { initSchema } from '../../src/db/migrate.ts';
import type { Check } from '../../src/migration/preflight/checks.ts';
import type { RunOptions } from '../../src/pipeline/run.ts';
import { runMigration } from '../../src/pipeline.ts';
import { catalogueOf, rowsOnDisk } from './catalogue.ts';
import { afterFile, type TestDatabase, testDatabase } from './database.ts';

export type Part<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { [K in keyof T]?: Part<T[K]> }
    : T;

/** A gate that is open as soon as there is a shadow, and nobody to wait for: a small table moves in a second or two. */
const quick = {
  // half of the rows, most of them by chance: of a small table a tenth of a tenth may well be no row at all
  shadow: {
    fraction: 0.5,
    seed: 1,
    weights: { predictive: 0.2, frequency: 0.1, change: 0.1, random: 0.6 },
  },
  confidence: { threshold: 0, fieldThreshold: 0, consecutive: 1, every: '50ms' },
  cutover: { reads: 'when-confident', writes: 'auto', finish: 'swap' },
} as const;

/** public.s → public.t over the key `id`, in a hurry. Objects given are merged with the defaults. */
export function migrationOf(given: Part<MigrationFile> = {}): MigrationFile {
  return parseMigrationFile({
    name: 'm',
    source: 'public.s',
    target: 'public.t',
    key: ['id'],
    ...given,
    shadow: { ...quick.shadow, ...given.shadow },
    confidence: { ...quick.confidence, ...given.confidence },
    cutover: { ...quick.cutover, ...given.cutover },
  });
}

/** A database with our schema in it, and a context on it. */
export interface MigrationDatabase extends TestDatabase {
  readonly ctx: Context;
  /** runs a migration in this process, to the end unless told otherwise */
  run(file: MigrationFile, options?: RunOptions): ReturnType<typeof runMigration>;
}

/** Real time, in which nobody sleeps long: the pipeline's pulse is most of what a small migration takes. */
const hasty = {
  now: systemClock.now,
  sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(Math.min(ms, 20), signal),
};

/** @param setup SQL that makes the tables */
export async function migrationDatabase(
  setup = '',
  on?: { readonly url: string },
): Promise<MigrationDatabase> {
  const db = await testDatabase(on);
  if (setup) await db.pool.query(setup);
  const models = await mkdtemp(join(tmpdir(), 'foreshadow-test-models-'));
  afterFile(() => rm(models, { recursive: true, force: true }));
  const real = await createContext({ databaseUrl: db.url, modelsDir: models, logLevel: 'silent' });
  const ctx: Context = { ...real, clock: hasty };
  await initSchema(ctx.pool);
  // The pool of the test ends first; both must be gone before the database is dropped.
  const end = db.pool.end.bind(db.pool);
  db.pool.end = (async () => {
    await ctx.close();
    await end();
  }) as typeof db.pool.end;
  return { ...db, ctx, run: (file, options) => runMigration(ctx, file, options) };
}

/** Resolves with the error that `work` fails with. @throws when it does not fail */
export async function failureOf(
  work: Promise<unknown>,
): Promise<Error & { code?: string; hint?: string; exitCode?: number; detail?: Record<string, unknown> }> {
  try {
    await work;
  } catch (error) {
    return error as Error;
  }
  throw new Error('it was expected to fail, and did not');
}

/**
 * The migration is refused before anything is touched: neither the catalogue, nor the rows of S, nor our status table
 * show a trace of it.
 */
export async function expectRefusal(
  db: MigrationDatabase,
  file: Part<MigrationFile>,
  code: ErrorCode,
  message: RegExp,
  exit = 3,
  options: RunOptions = {},
): Promise<ForeshadowError> {
  const before = [await catalogueOf(db.pool), await rowsOnDisk(db.pool, 's')];
  const error = await failureOf(db.run(migrationOf(file), { ...options, until: 'PLANNED' }));
  expect(error).toBeInstanceOf(ForeshadowError);
  expect(error.message).toMatch(message);
  expect(error).toMatchObject({ code, exitCode: exit, hint: expect.stringMatching(/\w+/) });
  expect([await catalogueOf(db.pool), await rowsOnDisk(db.pool, 's')]).toEqual(before);
  expect((await db.pool.query('select name from foreshadow.migration_status')).rows).toEqual([]);
  return error as ForeshadowError;
}

/** What preflight says under this heading. */
export const said = (checks: readonly Check[], heading: string): (readonly [Check['status'], string])[] =>
  checks.flatMap(({ id, status, message }) => (id === heading ? [[status, message] as const] : []));
