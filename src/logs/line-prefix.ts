import { ForeshadowError } from '../core/errors.ts';

/** What a `log_line_prefix` can tell, by its escapes. */
export type PrefixField =
  | 'application'
  | 'user'
  | 'database'
  | 'pid'
  | 'time'
  | 'epoch'
  | 'commandTag'
  | 'session';

/** Each escape of `log_line_prefix` (PostgreSQL 14 to 18): what the server writes for it, and what we read from it. */
// Names have at most 63 bytes. The bounds also keep a line that is none from being tried in every possible way.
const name = '[^\\n]{0,64}?';
const time = '\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d';
const zone = ' (?:[A-Za-z]{1,10}|[+-]\\d{2}(?::?\\d{2}){0,2})';
const escapes: Readonly<Record<string, { readonly pattern: string; readonly field?: PrefixField }>> = {
  a: { pattern: name, field: 'application' },
  u: { pattern: name, field: 'user' },
  d: { pattern: name, field: 'database' },
  r: { pattern: '[^\\n]{0,260}?' },
  h: { pattern: '[^\\n]{0,255}?' },
  L: { pattern: '[^\\n]{0,255}?' },
  b: { pattern: '[^\\n]{0,100}?' },
  p: { pattern: '\\d+', field: 'pid' },
  P: { pattern: '\\d*' },
  t: { pattern: `${time}${zone}`, field: 'time' },
  m: { pattern: `${time}\\.\\d{3}${zone}`, field: 'time' },
  n: { pattern: '\\d+\\.\\d+', field: 'epoch' },
  i: { pattern: name, field: 'commandTag' },
  e: { pattern: '[0-9A-Z]{5}' },
  c: { pattern: '[0-9a-f]+\\.[0-9a-f]+', field: 'session' },
  l: { pattern: '\\d+' },
  s: { pattern: `(?:${time}${zone})?` },
  v: { pattern: '[\\d/]*' },
  x: { pattern: '\\d+' },
  Q: { pattern: '-?\\d+' },
};

/** A compiled `log_line_prefix`. */
export interface LinePrefix {
  /** as `SHOW log_line_prefix` prints it */
  readonly text: string;
  /** matches prefix, severity and `:  ` at `lastIndex`; the severity is the last group. For latin1 text */
  readonly header: RegExp;
  /** the same, anywhere in a text */
  readonly anywhere: RegExp;
  /** which group of `header` holds which field */
  readonly groups: ReadonlyMap<PrefixField, number>;
  readonly severityGroup: number;
}

const quoted = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');

/** Names in a guess: a prefix with fewer escapes than there are must not take what follows for a part of a name. */
const plainName = '[^\\s,/=|]{0,64}?';

/**
 * @param text a `log_line_prefix` (also with padding: `%-10p`)
 * @param guess whether nobody has said that it is this one
 * @throws ForeshadowError LOG_FORMAT when a line would not tell when it was written, or by which session
 */
export function compileLinePrefix(text: string, guess = false): LinePrefix {
  const groups = new Map<PrefixField, number>();
  let count = 0;
  let source = '';
  let sessionOnly = false;
  // the file has bytes, and we look at it as latin1
  const bytes = Buffer.from(text, 'utf8').toString('latin1');
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] !== '%') {
      source += quoted(bytes[i] as string);
      continue;
    }
    const found = /%(-?\d*)(.?)/sy;
    found.lastIndex = i;
    const [whole, padding = '', letter = ''] = found.exec(bytes) as RegExpExecArray;
    i += whole.length - 1;
    if (letter === '%') source += '%';
    else if (letter === 'q') {
      // processes without a session write nothing further
      if (!sessionOnly) source += '(?:';
      sessionOnly = true;
    } else {
      const known = escapes[letter];
      if (!known) continue; // the server ignores letters that it does not know
      const plain = guess && (letter === 'u' || letter === 'd');
      const value = `(${plain ? plainName : known.pattern})`;
      source += padding === '' || padding === '-' ? value : ` *${value} *`;
      count++;
      // %m and %n win over %t, which has no milliseconds
      if (known.field && !(groups.has(known.field) && letter === 't')) groups.set(known.field, count);
    }
  }
  if (sessionOnly) source += ')?';
  if (!groups.has('time') && !groups.has('epoch')) throw lacking(text, 'a time (%m, %n or %t)');
  if (!groups.has('session') && !groups.has('pid')) throw lacking(text, 'a session (%c or %p)');
  // a blank at the end of a setting gets lost easily on its way here
  const header = `${source} *([^\\s:]{2,40}): {2}`;
  return {
    text,
    header: new RegExp(header, 'y'),
    anywhere: new RegExp(header, 'g'),
    groups,
    severityGroup: count + 1,
  };
}

function lacking(text: string, what: string): ForeshadowError {
  return new ForeshadowError(
    'LOG_FORMAT',
    `log_line_prefix '${text}' does not tell ${what}, so executions cannot be read from this log`,
  );
}

/** Prefixes to try when nobody says which: those that tell most come first. */
export const commonPrefixes: readonly string[] = [
  '%m [%p] %q%u@%d ', // Debian and Ubuntu
  '%m [%p] %q[user=%u,db=%d,app=%a] ',
  '%m [%p] %q%u@%d/%a ',
  '%m [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ',
  '%m [%p]: user=%u,db=%d,app=%a,client=%h ',
  '%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ', // pgBadger's
  '%t [%p]: user=%u,db=%d,app=%a,client=%h ',
  '%t [%p]: [%l-1] user=%u,db=%d ',
  '%m [%p]: [%l-1] db=%d,user=%u ', // Cloud SQL
  '%m:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:%c:%q%a:', // Amazon RDS since 2024
  '%t:%r:%u@%d:[%p]:', // Amazon RDS
  '%t-%c-', // Azure
  '%m [%p] ', // PostgreSQL's own
  '%t [%p] ',
  '%m [%p]: ',
  '%t [%p]: ',
  '< %m [%p] >',
  '%m %p ',
];
