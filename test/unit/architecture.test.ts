import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type ArchitectureRules, checkArchitecture, importsOf } from '../support/architecture.ts';

/** Dependencies point one way: to the left. */
const foundations = ['core', 'calendar', 'config', 'db', 'observability'];
const stages = [
  'logs',
  'access',
  'features',
  'model',
  'sampler',
  'sync',
  'shadow',
  'confidence',
  'migration',
];
const composition = ['context', 'pipeline', 'jobs'];

const leftOf = (unit: string, row: readonly string[]) => row.slice(0, row.indexOf(unit));
const each = (units: readonly string[], may: (unit: string) => readonly string[]) =>
  Object.fromEntries(units.map((unit) => [unit, may(unit)]));
const forAll = [...foundations, ...stages, ...composition];

const rules: ArchitectureRules = {
  values: {
    ...each(foundations, (unit) => leftOf(unit, foundations)),
    // a stage knows earlier stages by their types; pipeline.ts puts their values together
    ...each(stages, () => foundations),
    shadow: [...foundations, 'sync'],
    confidence: [...foundations, 'sync'],
    // one engine for training and serving: the model is built on features (docs/decisions/0001)
    model: [...foundations, 'features'],
    // migrations install, verify and take down the shadow's overlay
    migration: [...foundations, 'sync', 'shadow'],
    ...each(composition, (unit) => [...foundations, ...stages, ...leftOf(unit, composition)]),
    // predictions held against the past: the model alone, without a database
    backtest: [...foundations, 'features', 'model'],
    index: forAll,
    http: forAll,
    demo: [...forAll, 'http'],
    cli: [...forAll, 'backtest', 'http', 'demo'],
    dashboard: [],
  },
  types: {
    ...each(stages, (unit) => leftOf(unit, stages)),
    dashboard: ['http'],
  },
  pure: [
    /^features\//,
    /^sampler\//,
    /^confidence\/(distributions|distance|level|bounds)[^/]*$/,
    /^migration\/states\.ts$/,
    /^migration\/throttle\/(rules|drive|latency|wal-rate)\.ts$/,
    /^sync\/pacing\.ts$/,
    /^pipeline\/estimate\.ts$/,
    /^access\//,
  ],
  impureNames: /\.(store|queries)\.ts$/,
  impureImports:
    /^(pg|pg-.+|(node:)?(fs|fs\/promises|timers|timers\/promises|child_process|net)|core\/clock\.ts)$/,
  impureCode:
    /\bMath\.random\b|\brandom(Bytes|UUID|Int)\b|\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\.now\b|\bset(Timeout|Interval)\b|\bprocess\.\w+/,
  only: [
    { says: /\bprocess\.exit\b(?!Code)/, in: /^cli\//, name: 'process.exit, which is for cli/' },
    { says: /\bprocess\.env\b/, in: /^config\/env\.ts$/, name: 'process.env, which is for config/env.ts' },
  ],
  forbiddenFolders: /^(utils?|helpers?|services?|managers?|common)$/,
  maxLines: 400,
};

describe('the source tree', () => {
  const source = fileURLToPath(new URL('../../src', import.meta.url));
  const files = new Map(
    readdirSync(source, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [relative(source, path).replaceAll('\\', '/'), readFileSync(path, 'utf8')]),
  );

  test('keeps the rules', () => {
    expect(files.size).toBeGreaterThan(5);
    expect(checkArchitecture(files, rules)).toEqual([]);
  });
});

describe('the checker', () => {
  const check = (files: Record<string, string>) => checkArchitecture(new Map(Object.entries(files)), rules);
  const allowed: [string, string][] = [
    ['db/pool.ts', "import pg from 'pg';\nimport { ForeshadowError } from '../core/errors.ts';"],
    ['features/vector.ts', "import type { Access } from '../access/access.ts';"],
    ['features/x.queries.ts', "import pg from 'pg';\nexport const now = () => Date.now();"],
    ['shadow/admit.ts', "import { refresh } from '../sync/refresh.ts';"],
    [
      'migration/gate.ts',
      "import type { Level } from '../confidence/level.ts';\nimport { lanes } from '../sync/lanes.ts';",
    ],
    ['pipeline.ts', "import { mine } from './logs/mine.ts';"],
    ['jobs/run.ts', "import { context } from '../context.ts';"],
    ['cli/demo.ts', "import { demo } from '../demo/demo.ts';\nprocess.exit(0);"],
    ['demo/demo.ts', "import { app } from '../http/app.ts';"],
    ['dashboard/main.tsx', "import type { Status } from '../http/schema.ts';"],
    ['config/env.ts', 'export const env = process.env;'],
    ['core/text.ts', "// process.exit, Math.random\nexport const text = 'process.env';"],
    ['http/app.ts', 'process.exitCode = 1;'],
    [
      'sampler/pick.ts',
      "import type { systemClock } from '../core/clock.ts';\nimport { best } from './best.ts';",
    ],
    ['sampler/date.ts', 'export const day = (at: number) => new Date(at * 1000);'],
  ];
  test.each(allowed)('allows %s', (path, text) => {
    expect(check({ [path]: text })).toEqual([]);
  });

  const refused: [string, string, string][] = [
    ['core/a.ts', "import { env } from '../config/env.ts';", 'core may not import values from config'],
    ['core/b.ts', "import type { Pool } from '../db/pool.ts';", 'core may not import types from db'],
    ['config/a.ts', "export { pool } from '../db/pool.ts';", 'config may not import values from db'],
    ['db/a.ts', "import { mine } from '../logs/mine.ts';", 'db may not import values from logs'],
    ['logs/a.ts', "import type { A } from '../access/a.ts';", 'logs may not import types from access'],
    ['model/a.ts', "import { vector } from '../logs/vector.ts';", 'model may not import values from logs'],
    [
      'model/b.ts',
      "import { type Vector } from '../logs/vector.ts';",
      'model may not import values from logs',
    ],
    [
      'model/c.ts',
      "import {\n  type A,\n  b,\n} from '../logs/vector.ts';",
      'model may not import values from logs',
    ],
    ['model/d.ts', "const a = await import('../logs/vector.ts');", 'model may not import values from logs'],
    ['model/e.ts', "import '../logs/vector.ts';", 'model may not import values from logs'],
    ['sync/a.ts', "import { admit } from '../shadow/admit.ts';", 'sync may not import values from shadow'],
    [
      'migration/a.ts',
      "import { level } from '../confidence/level.ts';",
      'migration may not import values from confidence',
    ],
    ['logs/b.ts', "import { run } from '../pipeline.ts';", 'logs may not import values from pipeline'],
    ['context.ts', "import { job } from './jobs/job.ts';", 'context may not import values from jobs'],
    ['jobs/a.ts', "import { app } from '../http/app.ts';", 'jobs may not import values from http'],
    ['http/a.ts', "import { main } from '../cli/main.ts';", 'http may not import values from cli'],
    [
      'dashboard/a.ts',
      "import { Status } from '../http/schema.ts';",
      'dashboard may not import values from http',
    ],
    ['cache/a.ts', '', 'which has no place in the architecture yet'],
    ['features/a.ts', "import { readFile } from 'node:fs/promises';", 'may not import node:fs/promises'],
    ['sampler/a.ts', 'export const r = () => Math.random();', 'may not use Math.random'],
    ['sampler/b.ts', 'export const now = new Date();', 'may not use new Date()'],
    ['sampler/c.ts', "import { systemClock } from '../core/clock.ts';", 'may not import core/clock.ts'],
    ['sampler/d.ts', "import { load } from './load.store.ts';", 'may not import sampler/load.store.ts'],
    ['confidence/level.ts', 'export const t = performance.now();', 'may not use performance.now'],
    ['migration/states.ts', "import pg from 'pg';", 'may not import pg'],
    ['db/stop.ts', 'process.exit(1);', 'says process.exit'],
    ['http/env.ts', 'export const port = process.env.PORT;', 'says process.env'],
    ['db/utils/a.ts', '', 'lies in a folder called utils'],
    ['db/long.ts', 'x\n'.repeat(401), 'has 401 lines, more than 400'],
  ];
  test.each(refused)('refuses %s', (path, text, breach) => {
    expect(check({ [path]: text })).toEqual([expect.stringContaining(breach)]);
  });

  test('follows what a pure file calls', () => {
    const files = {
      'sampler/a.ts': "import { b } from './b.ts';\nimport type { D } from './d.store.ts';",
      'sampler/b.ts': "import { seconds } from '../config/file.ts';",
      'config/file.ts': "import { readFile } from 'node:fs/promises';",
      'sampler/d.store.ts': "import pg from 'pg';",
    };
    const what = 'is pure and may not import node:fs/promises, which config/file.ts does';
    expect(check(files)).toEqual([`sampler/a.ts: ${what}`, `sampler/b.ts: ${what}`]);
  });

  test('reads every form of import', () => {
    const text = [
      "import a from './a.ts';",
      "import * as b from './b.ts';",
      "import type { C } from './c.ts';",
      "export type { D } from './d.ts';",
      "export * from './e.ts';",
      "let f: typeof import('./f.ts');",
      "import type from './g.ts';",
      "// import h from './h.ts';",
      "/* import i from './i.ts'; */",
      'import j, {\n  type K, // a comment\n} from "./j.ts";',
      "export const l = 'x from ./l.ts';",
    ].join('\n');
    expect(
      importsOf(text)
        .map(({ from, typeOnly }) => `${from}${typeOnly ? ' type' : ''}`)
        .sort(),
    ).toEqual([
      './a.ts',
      './b.ts',
      './c.ts type',
      './d.ts type',
      './e.ts',
      './f.ts type',
      './g.ts',
      './j.ts',
    ]);
  });
});
