import { bareType } from './types.ts';

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
 * @param type as format_type prints it, modifiers and all. Integers, uuids, dates and times have one printed form each
 * (times with a zone are printed in UTC, as our own sessions do); text is taken as given. A numeric without a scale
 * has many forms for one value, and only whole numbers are trusted. Types whose equality is not that of their text
 * (citext) give nothing.
 */
export function canonicalFor(type: string): Canonical {
  const name = bareType(type);
  const limit = integerRange[name];
  if (limit !== undefined) return (text) => canonicalInteger(text, limit);
  switch (name) {
    case 'uuid':
      return canonicalUuid;
    case 'numeric':
    case 'decimal': {
      const scale = Number(/,\s*(\d+)\)/.exec(type)?.[1] ?? (type.includes('(') ? 0 : -1));
      return (text) => canonicalNumeric(text.trim(), scale);
    }
    case 'date':
      return (text) => /^\d{4}-\d\d-\d\d$/.exec(text.trim())?.[0];
    case 'timestamp without time zone':
    case 'timestamp':
      return (text) => canonicalTime(text.trim(), false);
    case 'timestamp with time zone':
    case 'timestamptz':
      return (text) => canonicalTime(text.trim(), true);
    case 'boolean':
    case 'bool':
      return (text) => booleans[text.trim().toLowerCase()];
    case 'character':
    case 'char':
      return (text) => text.replace(/ +$/, '');
    case 'unknown': // no catalogue was at hand
      return (text) => canonicalInteger(text, 1n << 63n) ?? text;
    case 'citext':
    case 'real':
    case 'double precision':
      return () => undefined;
    default:
      return (text) => text;
  }
}

const booleans: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['t', 'true', 'y', 'yes', 'on', '1'].map((text) => [text, 'true'])),
  ...Object.fromEntries(['f', 'false', 'n', 'no', 'off', '0'].map((text) => [text, 'false'])),
};

/** @param scale digits after the point; -1 where the type leaves them open */
function canonicalNumeric(text: string, scale: number): string | undefined {
  const match = /^([+-]?)0*(\d+?)(?:\.(\d*))?$/.exec(text);
  if (!match) return undefined;
  const [, sign, whole, fraction = ''] = match;
  const kept = fraction.replace(/0+$/, '');
  if (kept.length > Math.max(0, scale)) return undefined; // it would be rounded, or its form is not known
  const digits = scale > 0 ? `${whole}.${kept.padEnd(scale, '0')}` : (whole as string);
  return sign === '-' && /[1-9]/.test(digits) ? `-${digits}` : digits;
}

function canonicalTime(text: string, zone: boolean): string | undefined {
  const match = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d(?::?\d\d)?)?$/.exec(text);
  if (!match || (match[4] !== undefined) !== zone) return undefined;
  const fraction = (match[3] ?? '').replace(/0+$/, '');
  const printed = (date: string) => `${date}${fraction && `.${fraction}`}`;
  if (!zone) return printed(`${match[1]} ${match[2]}`);
  const offset =
    match[4] === 'Z' ? 'Z' : (match[4] as string).replace(/^(...):?(..)?$/, (_, h, m = '00') => `${h}:${m}`);
  const ms = Date.parse(`${match[1]}T${match[2]}${offset}`);
  if (Number.isNaN(ms)) return undefined;
  return `${printed(new Date(ms).toISOString().slice(0, 19).replace('T', ' '))}+00`;
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
