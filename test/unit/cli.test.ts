import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createProgram, run } from '../../src/cli/program.ts';
import { catalogue } from '../../src/core/errors.ts';

/** What the command line writes, and how it ends, without a database: usage is settled before one is asked for. */
let out = '';
let err = '';
beforeEach(() => {
  out = '';
  err = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text;
    return true;
  });
  for (const name of ['DATABASE_URL', 'PGHOST', 'PGDATABASE']) vi.stubEnv(name, undefined);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});
const foreshadow = (...args: string[]) => run(['node', 'foreshadow', ...args]);

const verbs = [
  'demo',
  'doctor',
  'init',
  'run',
  'start',
  'status',
  'pause',
  'resume',
  'throttle',
  'shadow',
  'explain',
  'cutover',
  'verify',
  'abort',
  'rollback',
  'finalize',
  'backtest',
  'learn',
  'train',
  'score',
  'models',
  'serve',
  'worker',
  'uninstall',
];

test('every verb has a description and takes --json', () => {
  const commands = createProgram().commands;
  expect(commands.map((command) => command.name()).sort()).toEqual([...verbs].sort());
  for (const command of commands) {
    expect(command.description(), command.name()).toMatch(/\w{3}/);
    expect(
      command.options.map((option) => option.long),
      command.name(),
    ).toContain('--json');
  }
});

test('--help lists the verbs, and each verb its options, to stdout', async () => {
  expect(await foreshadow('--help')).toEqual({ exitCode: 0 });
  for (const verb of verbs) expect(out).toMatch(new RegExp(`^  ${verb}\\b`, 'm'));
  expect(err).toBe('');
  out = '';
  expect(await foreshadow('run', '--help')).toEqual({ exitCode: 0 });
  expect(out).toMatch(/Usage: foreshadow run .*<file>[\s\S]*--until <state>[\s\S]*--disk-free <bytes>/);
});

const usage: [title: string, args: string[], says: RegExp][] = [
  ['no verb', [], /Usage: foreshadow/],
  ['an unknown verb', ['migrate'], /unknown command 'migrate'/],
  ['a verb that is nearly one', ['statsu'], /Did you mean status\?/],
  ['an unknown option', ['status', '--all'], /unknown option '--all'/],
  ['a missing argument', ['run'], /missing required argument 'file'/],
  ['too many arguments', ['status', 'a', 'b'], /too many arguments/],
  ['an option without its value', ['run', 'file.json', '--until'], /--until <state>' argument missing/],
  [
    'a number that is none',
    ['run', 'file.json', '--disk-free', 'plenty'],
    /--disk-free <bytes>.*plenty.*must be a number/,
  ],
  ['a negative number', ['abort', 'm', '--grace', '-1'], /must be a number/],
  ['an empty number', ['cutover', 'm', '--reads', '--attempts', ''], /must be a number/],
  ['a required option left out', ['score', 'm'], /required option '--keys <file>'/],
  ['a state that is none', ['run', 'file.json', '--until', 'DONE'], /--until DONE is no state/],
  ['neither reads nor writes', ['cutover', 'm'], /say --reads or --writes/],
  ['both reads and writes', ['cutover', 'm', '--reads', '--writes'], /say --reads or --writes/],
  ['training from nowhere', ['train'], /name a migration, or give --events FILE/],
  [
    'training from two places',
    ['train', 'm', '--events', 'e.csv'],
    /name a migration, or give --events FILE/,
  ],
  ['a calendar for a migration', ['train', 'm', '--calendar', 'c.csv'], /--calendar goes with --events/],
  ['a migration file that is not there', ['run', '/nowhere.json'], /cannot read \/nowhere\.json/],
  [
    'a list of keys that is not there',
    ['score', 'm', '--keys', '/nowhere'],
    /cannot read the keys in \/nowhere/,
  ],
  ['no database', ['status'], /no database: set DATABASE_URL/],
  ['an address that is none', ['--database-url', 'shop', 'status'], /address is not of the form/],
  ['a log level that is none', ['--log-level', 'loud', 'status'], /log level loud/],
];

describe('bad usage', () => {
  test.each(usage)('%s: text to stderr, exit 2', async (_, args, says) => {
    expect(await foreshadow(...args)).toEqual({ exitCode: 2 });
    expect(err).toMatch(says);
    expect(err).not.toMatch(/\n\s+at /); // no stack
    expect(out).toBe('');
  });

  test.each(usage)('%s, with --json: one document besides', async (_, args) => {
    expect(await foreshadow(...args, '--json')).toEqual({ exitCode: 2 });
    const { schema, error } = JSON.parse(out);
    expect(schema).toBe(1);
    expect(error).toMatchObject({
      code: expect.stringMatching(/^(USAGE|BAD_)/),
      exit_code: 2,
      message: expect.stringMatching(/\w/),
      hint: expect.stringMatching(/\w/),
    });
    expect(err).not.toBe('');
  });

  test('an unknown FORESHADOW_ variable', async () => {
    vi.stubEnv('FORESHADOW_MODEL', 'x');
    expect(await foreshadow('status', '--json')).toEqual({ exitCode: 2 });
    expect(JSON.parse(out).error).toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringMatching(/FORESHADOW_MODEL; did you mean FORESHADOW_MODELS\?/),
    });
  });
});

test('init --dry-run prints the SQL, and needs no database', async () => {
  expect(await foreshadow('init', '--dry-run')).toEqual({ exitCode: 0 });
  expect(out).toMatch(/create schema foreshadow;[\s\S]*create table foreshadow\.migration_status/);
  const sql = out;
  out = '';
  expect(await foreshadow('init', '--dry-run', '--json')).toEqual({ exitCode: 0 });
  expect(JSON.parse(out)).toEqual({
    schema: 1,
    sql: sql.trimEnd() + (JSON.parse(out).sql.endsWith('\n') ? '\n' : ''),
  });
});

test('every error of the catalogue has one of the documented exit codes, and a hint', () => {
  for (const [code, entry] of Object.entries(catalogue)) {
    expect([1, 2, 3, 4, 5, 6, 7, 130], code).toContain(entry.exit);
    expect(entry.http, code).toBeGreaterThanOrEqual(400);
    expect(entry.hint, code).toMatch(/^[A-Z].*\w/);
  }
});
