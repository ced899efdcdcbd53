import type { Scan, Slot, Value, ValueKind } from './shape.ts';

/**
 * A statement's text between its values, word for word. Most statements of a log are written by a program, and differ in
 * their values only: comparing the text around them costs a tenth of a scan.
 */
export interface Template<E> {
  readonly entry: E;
  readonly shape: string;
  readonly places: readonly number[];
  /** one more than values */
  readonly segments: readonly string[];
  readonly kinds: readonly ValueKind[];
  /** a minus before the k-th value would be its sign */
  readonly signed: readonly boolean[];
}

const maxTemplates = 1000;
const maxAlike = 8;
const maxValues = 64;
const isDigit = (c: number): boolean => c >= 48 && c <= 57;

/** Finds statements whose text was seen before, but for its values. Says nothing where it is not sure. */
export class TemplateIndex<E> {
  private readonly byPrefix = new Map<string, Template<E>[]>();
  /** where the values of the latest match begin and end */
  readonly starts = new Int32Array(maxValues);
  readonly ends = new Int32Array(maxValues);
  private count = 0;

  match(sql: string): Template<E> | undefined {
    const candidates = this.byPrefix.get(sql.slice(0, prefixLength(sql)));
    if (candidates === undefined) return undefined;
    for (let i = 0; i < candidates.length; i++) {
      const template = candidates[i] as Template<E>;
      if (this.fits(template, sql)) return template;
    }
    return undefined;
  }

  /** The scan of the statement that was matched last. */
  scan({ shape, places, kinds }: Template<E>, sql: string): Scan {
    const slots = kinds.map(
      (kind, k): Slot => [{ kind, start: this.starts[k] as number, end: this.ends[k] as number }],
    );
    return { sql, shape, slots, places };
  }

  /** Remembers a statement that was scanned, if the scan can be had from its text. */
  learn(scan: Scan, entry: E): void {
    const { sql, slots } = scan;
    if (this.count >= maxTemplates || slots.length > maxValues) return;
    const prefix = sql.slice(0, prefixLength(sql));
    const alike = this.byPrefix.get(prefix) ?? [];
    if (alike.length >= maxAlike) return;
    const segments: string[] = [];
    let from = 0;
    for (const slot of slots) {
      const value = slot[0] as Value;
      if (slot.length > 1 || value.start < from || !isPlain(sql, value)) return;
      segments.push(sql.slice(from, value.start));
      from = value.end;
      // what follows a number must end it, whatever the number is
      if (value.kind !== 'string' && /^[\w.$\u0080-\uffff]/.test(sql.slice(from, from + 1))) return;
    }
    segments.push(sql.slice(from));
    const template: Template<E> = {
      entry,
      shape: scan.shape,
      places: scan.places,
      // slices would keep the whole log chunk alive
      segments: segments.map((segment) => Buffer.from(segment).toString()),
      kinds: slots.map((slot) => (slot[0] as Value).kind),
      signed: segments.map(
        (segment) => /[(,[=<>+*/]\s*$/.test(segment) && !segment.includes('--') && !segment.includes('*/'),
      ),
    };
    alike.push(template);
    this.byPrefix.set(Buffer.from(prefix).toString(), alike);
    this.count++;
  }

  private fits(template: Template<E>, sql: string): boolean {
    const { segments, kinds, signed } = template;
    const { starts, ends } = this;
    let at = 0;
    for (let k = 0; k < kinds.length; k++) {
      const segment = segments[k] as string;
      if (!sql.startsWith(segment, at)) return false;
      at += segment.length;
      const end =
        kinds[k] === 'string'
          ? stringEnd(sql, at)
          : numberEnd(sql, at, kinds[k] === 'param', signed[k] as boolean);
      if (end < 0) return false;
      starts[k] = at;
      ends[k] = end;
      at = end;
    }
    const last = segments[kinds.length] as string;
    return sql.length === at + last.length && sql.endsWith(last);
  }
}

/** Up to the first digit or quote: the same for all statements of a template. */
function prefixLength(sql: string): number {
  let i = 0;
  while (i < sql.length) {
    const c = sql.charCodeAt(i);
    if (c === 39 || isDigit(c)) break;
    i++;
  }
  return i;
}

function isPlain(sql: string, { kind, start, end }: Value): boolean {
  if (kind === 'string') return sql.charCodeAt(start) === 39 && stringEnd(sql, start) === end;
  if (kind === 'number') return numberEnd(sql, start, false, true) === end;
  return kind === 'param';
}

/** The end of '…', or -1. */
function stringEnd(sql: string, at: number): number {
  if (sql.charCodeAt(at) !== 39) return -1;
  let i = at + 1;
  for (;;) {
    i = sql.indexOf("'", i);
    if (i < 0) return -1;
    if (sql.charCodeAt(i + 1) !== 39) return i + 1;
    i += 2;
  }
}

/** The end of digits with perhaps a fraction, or of $ and digits; -1 for every other form. */
function numberEnd(sql: string, at: number, parameter: boolean, signed: boolean): number {
  let i = at;
  if (parameter) {
    if (sql.charCodeAt(i) !== 36) return -1;
    i++;
  } else if (signed && sql.charCodeAt(i) === 45) i++;
  const first = i;
  while (isDigit(sql.charCodeAt(i))) i++;
  if (i === first) return -1;
  if (!parameter && sql.charCodeAt(i) === 46 && isDigit(sql.charCodeAt(i + 1))) {
    i += 2;
    while (isDigit(sql.charCodeAt(i))) i++;
  }
  return i;
}
