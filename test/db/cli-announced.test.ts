import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { run } from '../../src/cli/program.ts';
import type { Check } from '../../src/migration/preflight/checks.ts';
import { afterFile, testDatabase } from '../support/database.ts';

let out = '';
let err = '';
beforeEach(() => {
  out = err = '';
  process.exitCode = undefined; // doctor leaves it
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text;
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'foreshadow-test-announced-'));
  afterFile(() => rm(path, { recursive: true }));
  return path;
}

/** What doctor says of prediction in a migration file with this `predict`. */
async function doctor(predict: Record<string, unknown>): Promise<{ status: string; message: string }[]> {
  const db = await testDatabase();
  await db.pool.query(
    'create table s (id int primary key, tenant int); create table t (id int primary key, tenant int)',
  );
  const file = join(await folder(), 'm.json');
  await writeFile(
    file,
    JSON.stringify({ name: 'm', source: 'public.s', target: 'public.t', key: ['id'], predict }),
  );
  const { exitCode } = await run(['node', 'foreshadow', '--database-url', db.url, 'doctor', file, '--json']);
  const { checks } = JSON.parse(out) as { checks: Check[] };
  out = '';
  expect(checks.some(({ status }) => status === 'refuse')).toBe(exitCode !== 0);
  return checks
    .filter(({ id }) => id === 'announced events' || id === 'predict')
    .map(({ status, message }) => ({ status, message }));
}

test('doctor says what it has read of calendar and holidays, or why it could not', async () => {
  const calendar = join(await folder(), 'sales.csv');
  await writeFile(
    calendar,
    'start,end,group,kind\n2001-01-01,2001-01-02,,sale\n2190-03-01T08:00:00+01:00,2190-03-02,4,import\n',
  );
  expect(await doctor({ group: 'tenant' })).toEqual([]);
  expect(await doctor({ group: 'tenant', calendar })).toEqual([
    {
      status: 'ok',
      message: '2 events are known; the next begins 2190-03-01T07:00:00.000Z (import)',
    },
  ]);
  expect(await doctor({ calendar })).toEqual([
    expect.objectContaining({ status: 'ok' }),
    { status: 'warn', message: '1 events name a group, and without predict.group no row has one' },
  ]);
  const holidays = { country: 'DE', timeZone: 'Europe/Berlin' };
  expect(await doctor({ group: 'tenant', calendar: `${calendar}.gz`, holidays })).toEqual([
    {
      status: 'warn',
      message: expect.stringMatching(
        /would go on without: cannot read the calendar .*sales\.csv\.gz: ENOENT/,
      ),
    },
    {
      status: 'ok',
      message: expect.stringMatching(
        /^\d+ events are known; the next begins 20.*T2[23]:00:00.000Z \(holiday\)$/,
      ),
    },
  ]);
  expect(await doctor({ group: 'nobody' })).toEqual([
    { status: 'refuse', message: 'predict.group names "nobody", which is no column of public.s' },
  ]);
}, 60_000);

test('train --events groups keys by their prefix and takes a calendar', async () => {
  const path = await folder();
  const events = join(path, 'events.csv');
  const lines = Array.from({ length: 600 }, (_, i) => `${1000 + i * 10},${i % 3 ? 'a' : 'b'}:${i % 50},R`);
  await writeFile(events, `ts_seconds,key,op\n${lines.join('\n')}\n`);
  const calendar = join(path, 'calendar.csv');
  await writeFile(calendar, 'start,end,group\n2000,2500,a\n6900,7100,a\n');
  const train = (...args: string[]) =>
    run(['node', 'foreshadow', 'train', '--out', join(path, 'models'), '--json', ...args]);
  const manifest = async () => {
    const versions = (await readdir(join(path, 'models', 'events'))).sort();
    const text = await readFile(join(path, 'models', 'events', versions.at(-1)!, 'manifest.json'), 'utf8');
    return JSON.parse(text);
  };
  expect([await train('--events', events, '--calendar', calendar), err]).toEqual([{ exitCode: 0 }, '']);
  expect((await manifest()).feature_spec.grouped).toBe(true);

  const ungrouped = join(path, 'plain.csv');
  await writeFile(ungrouped, `ts_seconds,key,op\n${lines.join('\n').replaceAll(':', '-')}\n`);
  expect(await train('--events', ungrouped, '--calendar', calendar)).toEqual({ exitCode: 0 });
  expect((await manifest()).feature_spec.grouped).toBe(false);
  expect(err).toMatch(/the calendar has no effect: no key has a group/);

  await writeFile(calendar, 'start,end\n');
  expect(await train('--events', events, '--calendar', calendar)).toEqual({ exitCode: 2 });
  expect(err).toMatch(/calendar\.csv:1: the header of a calendar is .*"group" is missing/);
}, 60_000);
