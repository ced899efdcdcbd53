import { createHmac, timingSafeEqual } from 'node:crypto';

/** A message of the Jupyter protocol (version 5.3), as far as executing a notebook needs it. */
export interface Message {
  readonly type: string;
  /** id of the request that this message answers */
  readonly parent: string;
  readonly content: Readonly<Record<string, unknown>>;
}

export interface Request {
  readonly id: string;
  readonly type: string;
  readonly session: string;
  readonly content: object;
}

const delimiter = Buffer.from('<IDS|MSG>');

/** Frames of a request, signed with the connection's key. */
export function encode(key: string, { id, type, session, content }: Request): Buffer[] {
  const header = {
    msg_id: id,
    msg_type: type,
    session,
    username: '',
    version: '5.3',
    date: new Date().toISOString(),
  };
  const parts = [header, {}, {}, content].map((part) => Buffer.from(JSON.stringify(part)));
  return [delimiter, Buffer.from(signature(key, parts)), ...parts];
}

/** @throws Error when the frames are no message, or not signed with the key */
export function decode(key: string, frames: readonly Buffer[]): Message {
  const start = frames.findIndex((frame) => delimiter.equals(frame));
  const [signed, ...parts] = frames.slice(start + 1);
  if (start < 0 || signed === undefined || parts.length < 4) throw new Error('not a message of a kernel');
  const expected = Buffer.from(signature(key, parts));
  if (expected.length !== signed.length || !timingSafeEqual(expected, signed))
    throw new Error('a message that is not signed by the kernel');
  const [header, parent, , content] = parts.map((part) => JSON.parse(part.toString()));
  return { type: header.msg_type, parent: parent.msg_id ?? '', content };
}

function signature(key: string, parts: readonly Buffer[]): string {
  const hash = createHmac('sha256', key);
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}
