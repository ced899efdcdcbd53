import { createHash } from 'node:crypto';

/**
 * A place in a set of files that outlives the process. All statements before it were handed out, none after it. By a
 * file's identity when it was first seen: the byte from which to read on (unpacked, where it is compressed), and what its
 * first bytes were.
 */
export type LogPlace = Readonly<
  Record<string, { readonly offset: number; readonly head: string; readonly ended?: boolean }>
>;

/**
 * The first bytes of a file. They tell a file that was emptied and written anew from one that only grew, and they stay
 * the same when it is copied or compressed: a log record begins with its time, session and number.
 */
export interface Head {
  readonly length: number;
  readonly hash: string;
}

const headBytes = 1024;
export const noHead: Head = { length: 0, hash: '' };

export function headOf(bytes: Buffer): Head {
  const length = Math.min(bytes.length, headBytes);
  return length === 0 ? noHead : { length, hash: hashOf(bytes, length) };
}

/** Whether a file that begins with `bytes` is, or has grown out of, the one that had this head. */
export const beginsWith = (bytes: Buffer, head: Head): boolean =>
  head.length === 0 || (bytes.length >= head.length && hashOf(bytes, head.length) === head.hash);

function hashOf(bytes: Buffer, length: number): string {
  return createHash('sha256').update(bytes.subarray(0, length)).digest('hex').slice(0, 24);
}

export const writeHead = ({ length, hash }: Head): string => `${length}:${hash}`;

export function readHead(text: string): Head {
  const [length, hash = ''] = text.split(':');
  return { length: Number(length), hash };
}
