/** Makes a key value's text what PostgreSQL prints for that column; undefined when it cannot say for sure. */
export type Canonical = (text: string) => string | undefined;

const integerRange: Readonly<Record<string, bigint>> = {
  smallint: 1n << 15n,
  int2: 1n << 15n,
  integer: 1n << 31n,
  int: 1n << 31n,
  int4: 1n << 31n,
  serial: 1n << 31n,
  bigint: 1n << 63n,
  int8: 1n << 63n,
  bigserial: 1n << 63n,
};

/**
 * @param type as format_type prints it, modifiers and all. Integers and uuids have one printed form each; numeric is
 * trimmed; every other type is taken as given, which is right for text and for values that a driver sent as $n.
 */
export function canonicalFor(type: string): Canonical {
  const name = type
    .replace(/\(.*\)/, '')
    .trim()
    .toLowerCase();
  const limit = integerRange[name];
  if (limit !== undefined) return (text) => canonicalInteger(text, limit);
  if (name === 'uuid') return canonicalUuid;
  if (name === 'numeric' || name === 'decimal') return (text) => text.trim();
  return (text) => text;
}

function canonicalInteger(text: string, limit: bigint): string | undefined {
  // the usual case: at most nine digits, nothing to mend
  if (/^[1-9][0-9]{0,8}$/.test(text) && (limit > 1n << 15n || text.length < 5)) return text;
  const match = /^\s*([+-]?)(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)(?:\.0*)?\s*$/.exec(
    text,
  );
  if (!match) return undefined;
  let value: bigint;
  try {
    value = BigInt((match[2] as string).replaceAll('_', ''));
  } catch {
    return undefined;
  }
  if (match[1] === '-') value = -value;
  return value >= -limit && value < limit ? String(value) : undefined;
}

function canonicalUuid(text: string): string | undefined {
  if (/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/.test(text)) return text;
  // PostgreSQL takes braces, upper case, and a hyphen after any group of four digits
  if (!/^(?:\{(?:[0-9a-f]{4}-?){7}[0-9a-f]{4}\}|(?:[0-9a-f]{4}-?){7}[0-9a-f]{4})$/i.test(text))
    return undefined;
  const hex = text.replace(/[{}-]/g, '').toLowerCase();
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
