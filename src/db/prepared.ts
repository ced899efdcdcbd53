import { createHash } from 'node:crypto';

/** A statement that a connection runs more than once, parsed and planned the first time only. Its text is its name. */
export function prepared(text: string, values: readonly unknown[] = []) {
  return { name: createHash('sha1').update(text).digest('hex'), text, values: [...values] };
}
