import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Access } from '../core/access.ts';

/** JSON, deflated: keys once, then for each access its key's number, milliseconds since the one before, op and weight. */
interface Body {
  readonly keys: readonly string[];
  readonly key: readonly number[];
  readonly ms: readonly number[];
  /** one letter an access */
  readonly ops: string;
  /** absent when all are 1 */
  readonly weights?: readonly number[];
}

/** Accesses as bytes, a few for each; times keep their milliseconds. The order is kept. */
export function encodeAccesses(accesses: readonly Access[]): Buffer {
  const numbers = new Map<string, number>();
  const key: number[] = [];
  const ms: number[] = [];
  let ops = '';
  let before = 0;
  let weighted = false;
  for (const access of accesses) {
    let number = numbers.get(access.key);
    if (number === undefined) numbers.set(access.key, (number = numbers.size));
    key.push(number);
    const at = Math.round(access.at * 1000);
    ms.push(at - before);
    before = at;
    ops += access.op;
    weighted ||= access.weight !== undefined && access.weight !== 1;
  }
  const body: Body = {
    keys: [...numbers.keys()],
    key,
    ms,
    ops,
    ...(weighted ? { weights: accesses.map((access) => access.weight ?? 1) } : {}),
  };
  return deflateRawSync(JSON.stringify(body), { level: 1 });
}

/** The inverse of {@link encodeAccesses}. */
export function decodeAccesses(bytes: Uint8Array): Access[] {
  const { keys, key, ms, ops, weights } = JSON.parse(inflateRawSync(bytes).toString('utf8')) as Body;
  let at = 0;
  return key.map((number, i) => {
    at += ms[i] as number;
    const weight = weights?.[i] ?? 1;
    return {
      key: keys[number] as string,
      op: ops[i] as Access['op'],
      at: at / 1000,
      ...(weight === 1 ? {} : { weight }),
    };
  });
}
