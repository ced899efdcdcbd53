import { randomUUID } from 'node:crypto';

/** The client's own id, if it is one that a log can hold; a new one otherwise. */
export function saneRequestId(given: string | string[] | undefined): string {
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : randomUUID();
}
