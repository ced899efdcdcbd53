import {
  appendFile,
  copyFile,
  mkdtemp,
  readFile,
  rename,
  rm,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type ExecutedStatement,
  type FollowLogOptions,
  LogFollower,
  newLogCounters,
  readLog,
} from '../../src/logs/index.ts';
import { type LogLine, linePrefix, type WrittenFormat, writers } from '../support/log-lines.ts';

const endings: Readonly<Record<WrittenFormat, string>> = { jsonlog: 'json', csvlog: 'csv', stderr: 'log' };

let folder: string;
let now: number;
let tick: number;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foreshadow-follow-'));
  now = 1000;
  tick = 0;
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const clock = { now: () => now, sleep: async () => {} };
const texts = (statements: readonly ExecutedStatement[]): string[] => statements.map(({ sql }) => sql);

describe.each(Object.keys(endings) as WrittenFormat[])('following %s', (format) => {
  const ending = endings[format];
  const path = (name: string) => join(folder, `${name}.${ending}`);
  const record = (sql: string, more: Partial<LogLine> = {}) =>
    writers[format]({
      at: Date.UTC(2026, 4, 1, 12) + 7 * tick++,
      session: '6b08b1ce.5a',
      pid: 7,
      user: 'app',
      database: 'shop',
      application: 'web',
      severity: 'LOG',
      message: `duration: 1.0 ms  statement: ${sql}`,
      ...more,
    });
  const records = (...sql: string[]) => sql.map((one) => record(one)).join('');
  const said = format === 'stderr' ? { linePrefix } : {};
  const follow = (options: FollowLogOptions = {}) =>
    new LogFollower(join(folder, `*.${ending}*`), {
      from: 'start',
      clock,
      ...said,
      ...options,
    });
  /** What a follower finds until there is nothing more. The end of a record of stderr shows after a quiet time. */
  const all = async (follower: LogFollower) => {
    const found: string[] = [];
    for (let i = 0; i < 4; i++) {
      found.push(...texts(await follower.poll()));
      now += 3;
    }
    // files of the same millisecond have no order among them
    return found.sort();
  };
  const pack = async (from: string, to = `${from}.gz`) => {
    await writeFile(to, gzipSync(await readFile(from)));
    await utimes(to, now, now);
    await rm(from);
  };

  test('a record may span lines and polls', async () => {
    const sql = 'select 1,\n\t"two"\nfrom\n\nx';
    const text = records('a', sql, 'b');
    const follower = follow();
    const found: string[] = [];
    await writeFile(path('pg'), '');
    for (let at = 0; at < text.length; at += 17) {
      await appendFile(path('pg'), text.slice(at, at + 17));
      found.push(...texts(await follower.poll()));
    }
    found.push(...(await all(follower)));
    expect(found).toEqual(['a', sql, 'b']);
    expect(follower.counters).toMatchObject({ malformed: 0, executions: 3, bytes: Buffer.byteLength(text) });
  });

  test('rotated, compressed, copied: nothing twice, nothing left out', async () => {
    const follower = follow();
    await writeFile(path('pg'), records('a', 'b'));
    expect(await all(follower)).toEqual(['a', 'b']);
    await appendFile(path('pg'), records('c'));
    await rename(path('pg'), `${path('pg')}.1`);
    await writeFile(path('pg'), records('d'));
    expect(await all(follower)).toEqual(['c', 'd']);
    await pack(`${path('pg')}.1`);
    await appendFile(path('pg'), records('e'));
    expect(await all(follower)).toEqual(['e']);
    // written to until the moment it was compressed, by a follower that did not look meanwhile
    await appendFile(path('pg'), records('f'));
    await rename(path('pg'), `${path('pg')}.2`);
    await pack(`${path('pg')}.2`);
    await writeFile(path('pg'), records('g'));
    expect(await all(follower)).toEqual(['f', 'g']);
    // copytruncate, looked at in the middle
    await appendFile(path('pg'), records('h'));
    await copyFile(path('pg'), `${path('pg')}.3`);
    expect(await all(follower)).toEqual(['h']);
    await truncate(path('pg'));
    await appendFile(path('pg'), records('i'));
    expect(await all(follower)).toEqual(['i']);
    expect(follower.counters).toMatchObject({ malformed: 0, executions: 9, cutFiles: 0 });
  });

  test('the same across restarts, by the place alone', async () => {
    let place = {};
    const found: string[] = [];
    const restart = async () => {
      const follower = follow({ place });
      found.push(...(await all(follower)));
      place = JSON.parse(JSON.stringify(follower.place()));
    };
    await writeFile(path('pg'), records('a', 'b'));
    await restart();
    await appendFile(path('pg'), records('c'));
    await rename(path('pg'), `${path('pg')}.1`);
    await pack(`${path('pg')}.1`);
    await writeFile(path('pg'), records('d'));
    await restart();
    await restart();
    await pack(path('pg'), `${path('pg')}.2.gz`);
    await restart();
    expect(found).toEqual(['a', 'b', 'c', 'd']);
  });

  test('an inode that is used again for another log is read from its start', async () => {
    const follower = follow();
    await writeFile(path('pg'), records('a', 'b'));
    expect(await all(follower)).toEqual(['a', 'b']);
    await writeFile(path('pg'), records('c', 'd', 'e', 'f'));
    expect(await all(follower)).toEqual(['c', 'd', 'e', 'f']);
  });

  test('from the end: what is there already is not read, not even when it is compressed later', async () => {
    await writeFile(path('old'), records('a'));
    await pack(path('old'));
    await writeFile(path('pg'), records('b'));
    const follower = follow({ from: 'end' });
    expect(await all(follower)).toEqual([]);
    await appendFile(path('pg'), records('c'));
    await pack(path('pg'));
    expect(await all(follower)).toEqual(['c']);
  });

  test('a large compressed file is read in parts, also by one follower after the other', async () => {
    const sql = Array.from({ length: 3000 }, (_, k) => `select ${k}, ${Math.sin(k)}`);
    await writeFile(path('pg'), records(...sql));
    await pack(path('pg'));
    let place = {};
    const found: string[] = [];
    for (let turn = 0; found.length < sql.length && turn < 60; turn++) {
      const follower = follow({ place, maxBytesPerPoll: 50_000 });
      for (let i = 0; i < 3; i++) found.push(...texts(await follower.poll()));
      place = follower.place();
    }
    expect(found).toEqual(sql);
  });

  test.each([
    ['compressed', (bytes: Buffer) => gzipSync(bytes), '.gz'],
    ['copied', (bytes: Buffer) => bytes, '.1'],
  ])('a file that is being %s, seen while the new one is empty: nothing twice', async (_, made, ending) => {
    const sql = Array.from({ length: 50 }, (__, k) => `select ${k}`);
    await writeFile(path('pg'), records(...sql));
    const follower = follow();
    expect(await all(follower)).toEqual([...sql].sort());
    const [from, to] = [path('pg'), `${path('pg')}${ending}`];
    await writeFile(to, '');
    expect(await all(follower)).toEqual([]);
    await writeFile(to, made(await readFile(from)));
    await utimes(to, now, now);
    await rm(from);
    expect(await all(follower)).toEqual([]);
    expect(await all(follow({ place: follower.place() }))).toEqual([]);
  });

  test('a compressed file that is not whole yet', async () => {
    const packed = gzipSync(
      Buffer.from(records(...Array.from({ length: 500 }, (_, k) => `select ${Math.sin(k)}`))),
    );
    await writeFile(`${path('pg')}.gz`, packed.subarray(0, packed.length / 2));
    const follower = follow();
    const first = await all(follower);
    expect(first.length).toBeGreaterThan(50);
    await writeFile(`${path('pg')}.gz`, packed);
    const second = await all(follower);
    expect(first.length + second.length).toBe(500);
    expect(new Set([...first, ...second]).size).toBe(500);
    expect(follower.counters).toMatchObject({ cutFiles: 1, malformed: 0 });

    await writeFile(`${path('pg')}.gz`, packed.subarray(0, packed.length / 2));
    const counters = newLogCounters();
    const whole: string[] = [];
    for await (const batch of readLog(`${path('pg')}.gz`, { counters, ...said })) whole.push(...texts(batch));
    expect(Math.abs(whole.length - first.length)).toBeLessThanOrEqual(1);
    expect(counters.cutFiles).toBe(1);
  });
});
