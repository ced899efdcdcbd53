import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readEventsFile } from '../../src/model/events-file.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foreshadow-events-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function fileOf(content: string | Buffer): Promise<string> {
  const path = join(folder, `${Math.abs(Buffer.from(content).length)}-${Date.now()}.csv`);
  await writeFile(path, content);
  return path;
}

describe('events file', () => {
  const text = 'ts_seconds,key,op\n3.5,b,R\n1,a,W\r\n3.5,a,R\n2,"[""1"",""x""]",R\n2.25,plain,comma,W';
  const wanted = [
    { at: 1, key: 'a', op: 'W' },
    { at: 2, key: '["1","x"]', op: 'R' },
    { at: 2.25, key: 'plain,comma', op: 'W' },
    { at: 3.5, key: 'a', op: 'R' },
    { at: 3.5, key: 'b', op: 'R' },
  ];

  it('reads plain and gzipped CSV, sorted, with any kind of key', async () => {
    expect(await readEventsFile(await fileOf(text))).toEqual(wanted);
    expect(await readEventsFile(await fileOf(gzipSync(text)))).toEqual(wanted);
    expect(await readEventsFile(await fileOf(text.slice(text.indexOf('\n') + 1)))).toEqual(wanted);
    expect(await readEventsFile(await fileOf(''))).toEqual([]);
  });

  it('reads across the seams of its chunks', async () => {
    const lines = Array.from({ length: 20_000 }, (_, i) => `${i},schlüssel-${i % 97},${i % 2 ? 'R' : 'W'}`);
    const accesses = await readEventsFile(await fileOf(lines.join('\n')));
    expect(accesses).toHaveLength(20_000);
    expect(accesses[19_999]).toEqual({ at: 19_999, key: `schlüssel-${19_999 % 97}`, op: 'R' });
  });

  it.each([
    ['1,a,R\n2,b,X\n', /:2: op must be R or W, not "X"/],
    ['1,a,R\n\nsoon,b,R\n', /:3: ts_seconds must be a number, not "soon"/],
    ['1,a\n', /:1: a line is ts_seconds,key,op/],
    ['1,,R\n', /:1: the key is empty/],
    ['1,"a,R\n', /:1: the key has an unmatched quote/],
  ])('names the line of %j', async (content, message) => {
    await expect(readEventsFile(await fileOf(content))).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(message),
    });
  });

  it('says so when the file is missing or cut off', async () => {
    await expect(readEventsFile(join(folder, 'none.csv'))).rejects.toMatchObject({ code: 'USAGE' });
    const cut = gzipSync(text).subarray(0, 30);
    await expect(readEventsFile(await fileOf(cut))).rejects.toMatchObject({ code: 'USAGE' });
  });
});
