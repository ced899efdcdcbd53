import { createHmac } from 'node:crypto';
import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';

export type KeyHasher = (key: KeyId) => string;

/**
 * A keyed hash of a key: 128 bits of HMAC-SHA-256 over the migration's name and the key, as 22 letters. Without the secret
 * nobody can try keys against it, however few there are.
 */
export function createKeyHasher(secret: string, migration: string): KeyHasher {
  return (key) =>
    createHmac('sha256', secret)
      .update(`${migration}\0${key}`)
      .digest()
      .subarray(0, 16)
      .toString('base64url');
}

/** The accesses with keys of another kind; those whose key `of` does not know go into `unknown`. */
export function withKeys(
  accesses: readonly Access[],
  of: (key: string) => string | undefined,
  unknown?: Access[],
): Access[] {
  const found: Access[] = [];
  for (const access of accesses) {
    const key = of(access.key);
    if (key !== undefined) found.push({ ...access, key });
    else unknown?.push(access);
  }
  return found;
}
