import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import type { Access } from '../core/access.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { KeyId } from '../core/key.ts';
import { compareAccesses } from '../features/order.ts';

/**
 * Reads accesses from a CSV, plain or gzipped (told by its first bytes), of lines `ts_seconds,key,op` with op R or W.
 * A header line is optional. A key with commas may be quoted, with doubled quotes inside, or left bare.
 * @returns the accesses in {@link compareAccesses} order
 * @throws ForeshadowError USAGE, naming the file and the line
 */
export async function readEventsFile(path: string): Promise<Access[]> {
  const accesses: Access[] = [];
  const keys = new Map<string, KeyId>();
  let rest = '';
  let line = 0;
  const take = (text: string) => {
    line++;
    const access = parseLine(text, line, path, keys);
    if (access) accesses.push(access);
  };
  try {
    for await (const chunk of await openText(path)) {
      const lines = (rest + (chunk as string)).split('\n');
      rest = lines.pop()!;
      lines.forEach(take);
    }
  } catch (cause) {
    if (cause instanceof ForeshadowError) throw cause;
    throw new ForeshadowError(
      'USAGE',
      `cannot read ${path}: ${(cause as Error).message}`,
      { path },
      { cause },
    );
  }
  if (rest !== '') take(rest);
  return accesses.sort(compareAccesses);
}

async function openText(path: string): Promise<AsyncIterable<unknown>> {
  const file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0).finally(() => file.close());
  const gzipped = bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
  const bytes = createReadStream(path);
  if (!gzipped) return bytes.setEncoding('utf8');
  const plain = createGunzip().setEncoding('utf8');
  bytes.on('error', (error) => plain.destroy(error));
  return bytes.pipe(plain);
}

function parseLine(text: string, line: number, path: string, keys: Map<string, KeyId>): Access | undefined {
  const row = text.endsWith('\r') ? text.slice(0, -1) : text;
  if (row === '' || (line === 1 && /^\uFEFF?ts_seconds,/.test(row))) return undefined;
  const fail = (what: string): never => {
    throw new ForeshadowError('USAGE', `${path}:${line}: ${what}`, { path, line });
  };
  const first = row.indexOf(',');
  const last = row.lastIndexOf(',');
  if (first === last) return fail('a line is ts_seconds,key,op');
  const time = row.slice(0, first);
  const at = Number(time);
  if (time.trim() === '' || !Number.isFinite(at)) return fail(`ts_seconds must be a number, not "${time}"`);
  const op = row.slice(last + 1);
  if (op !== 'R' && op !== 'W') return fail(`op must be R or W, not "${op}"`);
  const field = row.slice(first + 1, last);
  let key = keys.get(field);
  if (key === undefined) {
    const bare = field.startsWith('"') ? unquoted(field) : field;
    if (bare === undefined) return fail('the key has an unmatched quote');
    if (bare === '') return fail('the key is empty');
    // A slice would keep its whole chunk of the file alive for as long as the key lives.
    key = Buffer.from(bare).toString();
    keys.set(key === field ? key : Buffer.from(field).toString(), key);
  }
  return { key, op, at };
}

function unquoted(field: string): string | undefined {
  const inside = field.slice(1, -1);
  const matched = field.length >= 2 && field.endsWith('"') && !inside.replaceAll('""', '').includes('"');
  return matched ? inside.replaceAll('""', '"') : undefined;
}
