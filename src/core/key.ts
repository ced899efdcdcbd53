/** A key as PostgreSQL prints it: one text per key column, in key order. Never a number: bigint would lose digits. */
export type Key = readonly string[];

/** A key folded into one string, for maps and files. One column: the text itself; several: a JSON array of texts. */
export type KeyId = string;

export function keyId(key: Key): KeyId {
  return key.length === 1 ? (key[0] as string) : JSON.stringify(key);
}

/** The inverse of {@link keyId}. @throws TypeError when the text does not hold `columns` parts */
export function keyFromId(id: KeyId, columns: number): Key {
  if (columns === 1) return [id];
  const parts: unknown = JSON.parse(id);
  if (!Array.isArray(parts) || parts.length !== columns || parts.some((part) => typeof part !== 'string')) {
    throw new TypeError(`a key of ${columns} columns is a JSON array of ${columns} strings, not ${id}`);
  }
  return parts as string[];
}
