import { appendFile, chmod, mkdir, mkdtemp, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type ExecutedStatement,
  LogFollower,
  newLogCounters,
  readLog,
  requireReadableLog,
} from '../../src/logs/index.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foreshadow-logs-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

let tick = 0;
/** A statement that is known to be done, so that nothing is held back. */
function line(sql: string): string {
  const timestamp = `2026-05-01 12:00:00.${String(tick++ % 1000).padStart(3, '0')} UTC`;
  const message = `duration: 1.0 ms  statement: ${sql}`;
  return `${JSON.stringify({ timestamp, session_id: 's', error_severity: 'LOG', message })}\n`;
}
const lines = (...sql: string[]): string => sql.map(line).join('');
const texts = (statements: readonly ExecutedStatement[]): string[] => statements.map(({ sql }) => sql);

async function readAll(path: string, options: Parameters<typeof readLog>[1] = {}): Promise<string[]> {
  const all: string[] = [];
  for await (const batch of readLog(path, options)) all.push(...texts(batch));
  return all;
}
async function file(name: string, content: string, mtime?: number): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  if (mtime !== undefined) await utimes(path, mtime, mtime);
  return path;
}

describe('reading a set of files', () => {
  test('oldest first, then by name; only what the glob matches', async () => {
    await file('b.json', lines('b'), 100);
    await file('c.json', lines('c'), 50);
    await file('a.json', lines('a'), 100);
    await file('a.log', lines('no'), 10);
    await mkdir(join(folder, 'd.json'));
    expect(await readAll(join(folder, '*.json'))).toEqual(['c', 'a', 'b']);
    expect(await readAll(join(folder, '?.json'))).toEqual(['c', 'a', 'b']);
    expect(await readAll(join(folder, 'a*.json'))).toEqual(['a']);
    expect(await readAll(join(folder, 'b.json'))).toEqual(['b']);
  });

  test('a line may lie across any boundary, hold any character, and lack its newline', async () => {
    const sql = ['é'.repeat(50), '', 'x\ny', '😀'.repeat(20), 'last'];
    const path = await file('a.json', lines(...sql).trimEnd());
    for (const chunkBytes of [1, 2, 3, 7, 64, 150, 1000])
      expect(await readAll(path, { chunkBytes })).toEqual(sql);
  });

  test('a line that is too long is counted and passed over', async () => {
    const path = await file('a.json', lines('a', 'b'.repeat(5000), 'c'));
    const counters = newLogCounters();
    expect(await readAll(path, { chunkBytes: 100, maxRecordBytes: 1000, counters })).toEqual(['a', 'c']);
    expect(counters).toMatchObject({ lines: 3, malformed: 1, executions: 2 });
  });

  test('counts bytes', async () => {
    const content = lines('a', 'é');
    const counters = newLogCounters();
    await readAll(await file('a.json', content), { counters });
    expect(counters.bytes).toBe(Buffer.byteLength(content));
  });

  test('an empty file gives nothing', async () => {
    expect(await readAll(await file('a.json', ''))).toEqual([]);
  });

  test.each([
    'missing.json',
    'missing/*.json',
    '*.none',
    '.',
  ])('says which path cannot be read: %s', async (name) => {
    const path = join(folder, name);
    const named = name === 'missing/*.json' ? join(folder, 'missing') : path;
    const failure = { code: 'LOG_UNREADABLE', message: expect.stringContaining(named) };
    await expect(readAll(path)).rejects.toMatchObject(failure);
  });
});

describe('asking whether a log can be read', () => {
  const refusal = (path: string) => ({
    code: 'LOG_UNREADABLE',
    message: expect.stringContaining(path),
  });

  test('one file, or every file of a glob', async () => {
    const path = await file('a.json', '');
    await expect(requireReadableLog(path)).resolves.toBeUndefined();
    await expect(requireReadableLog(join(folder, '*.json'))).resolves.toBeUndefined();
  });

  test('no file', async () => {
    for (const path of [join(folder, 'a.json'), join(folder, '*.json'), folder])
      await expect(requireReadableLog(path)).rejects.toMatchObject(refusal(path));
  });

  // root may read everything
  test.skipIf(process.getuid?.() === 0)('a file that is there but closed to us', async () => {
    await file('a.json', '');
    const closed = await file('b.json', '');
    await chmod(closed, 0o000);
    await expect(requireReadableLog(join(folder, '*.json'))).rejects.toMatchObject(refusal(closed));
  });
});

describe('following', () => {
  test('from the end of what is there, or from its start', async () => {
    const path = await file('a.json', lines('old'));
    const fromEnd = new LogFollower(path);
    const fromStart = new LogFollower(path, { from: 'start' });
    expect(texts(await fromEnd.poll())).toEqual([]);
    expect(texts(await fromStart.poll())).toEqual(['old']);
    await appendFile(path, lines('new'));
    expect(texts(await fromEnd.poll())).toEqual(['new']);
    expect(texts(await fromStart.poll())).toEqual(['new']);
    expect(texts(await fromStart.poll())).toEqual([]);
  });

  test('keeps a half-written line for the next poll', async () => {
    const text = line('ünfinished');
    const path = await file('a.json', lines('a') + text.slice(0, 30));
    const follower = new LogFollower(path, { from: 'start' });
    expect(texts(await follower.poll())).toEqual(['a']);
    await appendFile(path, text.slice(30, -1));
    expect(texts(await follower.poll())).toEqual([]);
    await appendFile(path, `\n${line('b')}`);
    expect(texts(await follower.poll())).toEqual(['ünfinished', 'b']);
    expect(follower.counters).toMatchObject({ lines: 3, malformed: 0, executions: 3 });
  });

  test('a file that is missing from one listing is not read again', async () => {
    const path = await file('pg.json', lines('a', 'b'), 10);
    const follower = new LogFollower(join(folder, 'pg*.json'), { from: 'start' });
    expect(texts(await follower.poll())).toEqual(['a', 'b']);
    await rename(path, join(folder, 'elsewhere'));
    expect(texts(await follower.poll())).toEqual([]);
    await rename(join(folder, 'elsewhere'), path);
    await appendFile(path, lines('c'));
    expect(texts(await follower.poll())).toEqual(['c']);
  });

  test('picks up new files, and knows a renamed one', async () => {
    const path = await file('pg.json', lines('a'), 10);
    const follower = new LogFollower(join(folder, 'pg*.json'), { from: 'start' });
    expect(texts(await follower.poll())).toEqual(['a']);
    await appendFile(path, lines('b'));
    await rename(path, join(folder, 'pg-1.json'));
    await utimes(join(folder, 'pg-1.json'), 20, 20);
    await file('pg.json', lines('c'), 30);
    expect(texts(await follower.poll())).toEqual(['b', 'c']);
    await rm(join(folder, 'pg-1.json'));
    expect(texts(await follower.poll())).toEqual([]);
  });

  test('notices a truncated file, even one that has grown past its old length', async () => {
    const path = await file('a.json', lines('a', 'b'));
    const follower = new LogFollower(path, { from: 'start' });
    await follower.poll();
    await truncate(path, 0);
    await appendFile(path, lines('c'));
    expect(texts(await follower.poll())).toEqual(['c']);
    await truncate(path, 0);
    await appendFile(path, lines('d', 'e', 'f'));
    expect(texts(await follower.poll())).toEqual(['d', 'e', 'f']);
  });

  test('reads a bounded amount a poll, and passes over what can never fit', async () => {
    const path = await file('a.json', lines('a', 'b', 'c'));
    const follower = new LogFollower(path, { from: 'start', maxBytesPerPoll: 200 });
    const seen: string[] = [];
    for (let i = 0; i < 10; i++) {
      const batch = texts(await follower.poll());
      expect(batch.length).toBeLessThan(3);
      seen.push(...batch);
    }
    await appendFile(path, lines('x'.repeat(900), 'd'));
    for (let i = 0; i < 10; i++) seen.push(...texts(await follower.poll()));
    expect(seen).toEqual(['a', 'b', 'c', 'd']);
    expect(follower.counters).toMatchObject({ lines: 5, malformed: 1, executions: 4 });
  });

  test('hands out a statement once it is done, or after the hold time', async () => {
    let now = 1000;
    const path = await file('a.json', '');
    const clock = { now: () => now, sleep: async () => {} };
    const follower = new LogFollower(path, { clock, holdSeconds: 2 });
    await follower.poll();
    await appendFile(path, lines('x').replace('duration: 1.0 ms  ', ''));
    expect(texts(await follower.poll())).toEqual([]);
    now += 1.9;
    expect(texts(await follower.poll())).toEqual([]);
    now += 0.1;
    expect(texts(await follower.poll())).toEqual(['x']);
    await appendFile(path, lines('y').replace('duration: 1.0 ms  ', ''));
    await follower.poll();
    expect(texts(follower.flush())).toEqual(['y']);
  });

  test('a glob without files is no error, a missing file or folder is', async () => {
    expect(await new LogFollower(join(folder, '*.json')).poll()).toEqual([]);
    for (const name of ['none.json', 'none/*.json']) {
      await expect(new LogFollower(join(folder, name)).poll()).rejects.toMatchObject({
        code: 'LOG_UNREADABLE',
      });
    }
  });
});
