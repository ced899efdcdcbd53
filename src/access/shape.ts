/**
 * A cheap scan of a statement that takes its values out: literals and $n leave a `?` behind, comments vanish, white
 * space becomes one blank, and lists of alike elements (`in (1, 2, 3)`, rows of `values`) shrink to one element. What
 * remains is the *shape*: few shapes make up a whole log, so the real parser runs once for each.
 */
export type ValueKind = 'number' | 'string' | 'escaped' | 'dollar' | 'param' | 'odd';

/** One literal or $n: where it stands in the statement. Decoded only when somebody needs it. */
export interface Value {
  /** `escaped` is E'…', `dollar` is $tag$…$tag$; `odd` (B'…', X'…', U&'…') is never decoded */
  readonly kind: ValueKind;
  readonly start: number;
  readonly end: number;
}

/** One `?` of a shape. It has more than one value when it stands in a list that was shrunk. */
export type Slot = Value[];

export interface Scan {
  readonly sql: string;
  readonly shape: string;
  readonly slots: readonly Slot[];
  /** index in `shape` of each slot's `?` */
  readonly places: readonly number[];
}

/** An element of a list in the making: its text in the shape and its slots. */
interface Element {
  readonly start: number;
  end: number;
  readonly firstSlot: number;
  lastSlot: number;
}

interface Frame {
  /** elements of a `list` are compared one by one; a `row` is itself an element of the frame around it */
  readonly kind: 'plain' | 'list' | 'row';
  readonly start: number;
  readonly firstSlot: number;
  /** inside `values …`: rows may follow */
  rows: boolean;
  element: { start: number; firstSlot: number };
  previous: Element | undefined;
}

const number =
  /0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|(?:\d[\d_]*(?:\.\d[\d_]*|\.(?!\.))?|\.\d[\d_]*)(?:[eE][+-]?\d+)?/y;
const dollarTag = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/y;
const continuation = /[ \t\r\f]*\n[ \t\r\n\f]*'/y;

const isDigit = (c: number): boolean => c >= 48 && c <= 57;
const isWordStart = (c: number): boolean =>
  (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95 || c >= 128;
const isWord = (c: number): boolean => isWordStart(c) || isDigit(c) || c === 36;
const isSpace = (c: number): boolean => c === 32 || (c >= 9 && c <= 13);

/** Never throws: an unterminated literal or comment reaches to the end. */
export function scanShape(sql: string): Scan {
  return new Scanner(sql).run();
}

class Scanner {
  private readonly sql: string;
  private out = '';
  private slots: Slot[] = [];
  private places: number[] = [];
  private space = false;
  /** the last character written: what may follow a sign or needs no blank */
  private last = 0;
  private lastWord: 'in' | 'values' | undefined;
  private frame: Frame;
  private readonly frames: Frame[] = [];

  constructor(sql: string) {
    this.sql = sql;
    this.frame = this.newFrame('plain');
  }

  run(): Scan {
    const { sql } = this;
    let i = 0;
    while (i < sql.length) {
      const c = sql.charCodeAt(i);
      if (isSpace(c)) {
        this.space = true;
        i++;
      } else if (isWordStart(c)) i = this.word(i);
      else if (c === 39) i = this.string(i, 'string', i);
      else if (isDigit(c) || (c === 46 && isDigit(sql.charCodeAt(i + 1)))) i = this.number(i, i);
      else if (c === 45) i = this.minus(i);
      else if (c === 47 && sql.charCodeAt(i + 1) === 42) i = this.blockComment(i);
      else if (c === 36) i = this.dollar(i);
      else if (c === 34) i = this.quotedName(i);
      else i = this.punctuation(i, c);
    }
    return { sql, shape: this.out, slots: this.slots, places: this.places };
  }

  private newFrame(kind: Frame['kind']): Frame {
    const here = { start: this.out.length, firstSlot: this.slots.length };
    return { kind, ...here, rows: false, element: here, previous: undefined };
  }

  /** Writes a token, with a blank before it where the statement had white space and it makes a difference. */
  private write(token: string): void {
    if (this.space) {
      const before = this.last;
      const after = token.charCodeAt(0);
      const tight = before === 0 || before === 40 || before === 44 || before === 91;
      if (!tight && after !== 41 && after !== 44 && after !== 93) this.out += ' ';
      this.space = false;
    }
    this.out += token;
    this.last = token.charCodeAt(token.length - 1);
    this.lastWord = undefined;
  }

  private value(kind: ValueKind, start: number, end: number): number {
    this.write('?');
    this.places.push(this.out.length - 1);
    this.slots.push([{ kind, start, end }]);
    return end;
  }

  private word(i: number): number {
    const { sql } = this;
    let end = i + 1;
    while (end < sql.length && isWord(sql.charCodeAt(end))) end++;
    const next = sql.charCodeAt(end);
    if (next === 39 && end === i + 1) {
      const letter = sql.charCodeAt(i) | 32;
      if (letter === 101) return this.string(end, 'escaped', i); // E'…'
      if (letter === 98 || letter === 120) return this.string(end, 'odd', i); // B'…', X'…'
      if (letter === 110) return this.string(end, 'string', i); // N'…'
    }
    if (next === 38 && end === i + 1 && (sql.charCodeAt(i) | 32) === 117 && sql.charCodeAt(end + 1) === 39) {
      return this.string(end + 1, 'odd', i); // U&'…'
    }
    const token = sql.slice(i, end);
    this.write(token);
    this.frame.rows = false;
    if (token.length === 2 && token.toLowerCase() === 'in') this.lastWord = 'in';
    else if (token.length === 6 && token.toLowerCase() === 'values') {
      this.lastWord = 'values';
      this.frame.rows = true;
      this.frame.previous = undefined;
    }
    return end;
  }

  /** @param open index of the quote; @param start of the literal with its prefix */
  private string(open: number, kind: ValueKind, start: number): number {
    const { sql } = this;
    let i = open + 1;
    for (;;) {
      if (kind === 'escaped') while (i < sql.length && sql[i] !== "'") i += sql[i] === '\\' ? 2 : 1;
      else i = sql.indexOf("'", i);
      if (i < 0 || i >= sql.length) return this.value(kind, start, sql.length);
      if (sql.charCodeAt(i + 1) === 39) i += 2;
      else {
        // 'a' newline 'b' is one literal
        continuation.lastIndex = i + 1;
        if (!isSpace(sql.charCodeAt(i + 1)) || !continuation.test(sql)) return this.value(kind, start, i + 1);
        kind = 'odd';
        i = continuation.lastIndex;
      }
    }
  }

  private number(i: number, start: number): number {
    number.lastIndex = i;
    return this.value('number', start, number.test(this.sql) ? number.lastIndex : i + 1);
  }

  private minus(i: number): number {
    const { sql, last } = this;
    const next = sql.charCodeAt(i + 1);
    if (next === 45) {
      const end = sql.indexOf('\n', i);
      this.space = true;
      return end < 0 ? sql.length : end;
    }
    // a sign, not an operator, after ( , [ = < > + * / : only then is it part of the number
    const signed =
      last === 40 ||
      last === 44 ||
      last === 91 ||
      (last >= 60 && last <= 62) ||
      last === 43 ||
      last === 42 ||
      last === 47;
    if (signed && isDigit(next)) return this.number(i + 1, i);
    this.write('-');
    return i + 1;
  }

  private blockComment(i: number): number {
    const { sql } = this;
    let depth = 1;
    let at = i + 2;
    while (at < sql.length && depth > 0) {
      if (sql.charCodeAt(at) === 42 && sql.charCodeAt(at + 1) === 47) {
        depth--;
        at += 2;
      } else if (sql.charCodeAt(at) === 47 && sql.charCodeAt(at + 1) === 42) {
        depth++;
        at += 2;
      } else at++;
    }
    this.space = true;
    return at;
  }

  private dollar(i: number): number {
    const { sql } = this;
    let end = i + 1;
    while (isDigit(sql.charCodeAt(end))) end++;
    if (end > i + 1) return this.value('param', i, end);
    dollarTag.lastIndex = i;
    if (!dollarTag.test(sql)) return this.punctuation(i, 36);
    const tag = sql.slice(i, dollarTag.lastIndex);
    const close = sql.indexOf(tag, dollarTag.lastIndex);
    return this.value('dollar', i, close < 0 ? sql.length : close + tag.length);
  }

  private quotedName(i: number): number {
    const { sql } = this;
    let end = i;
    do end = sql.indexOf('"', end + 1) + 1;
    while (end > 0 && sql.charCodeAt(end) === 34);
    if (end === 0) end = sql.length;
    this.write(sql.slice(i, end));
    return end;
  }

  private punctuation(i: number, c: number): number {
    const { frame } = this;
    if (c === 40 || c === 91) {
      const list = c === 91 || this.lastWord === 'in';
      const row = !list && frame.rows && (this.lastWord === 'values' || this.last === 44);
      this.write(c === 40 ? '(' : '[');
      this.frames.push(frame);
      this.frame = this.newFrame(list ? 'list' : row ? 'row' : 'plain');
      if (row) this.frame = { ...this.frame, start: this.out.length - 1 };
      return i + 1;
    }
    if ((c === 41 || c === 93) && this.frames.length > 0) {
      if (frame.kind === 'list') this.endElement(frame, frame.element.start, frame.element.firstSlot);
      this.write(c === 41 ? ')' : ']');
      const outer = this.frames.pop() as Frame;
      this.frame = outer;
      if (frame.kind === 'row') this.endElement(outer, frame.start, frame.firstSlot);
      return i + 1;
    }
    if (c === 44 && frame.kind === 'list') {
      this.endElement(frame, frame.element.start, frame.element.firstSlot);
      this.write(',');
      frame.element = { start: this.out.length, firstSlot: this.slots.length };
      return i + 1;
    }
    if (c === 59) frame.rows = false;
    this.write(String.fromCharCode(c));
    return i + 1;
  }

  /** Folds an element into the one before it when both look alike and each `?` of it holds one value. */
  private endElement(frame: Frame, start: number, firstSlot: number): void {
    const { previous } = frame;
    const element: Element = { start, end: this.out.length, firstSlot, lastSlot: this.slots.length };
    if (previous && this.alike(previous, element)) {
      for (let k = firstSlot; k < element.lastSlot; k++) {
        (this.slots[previous.firstSlot + k - firstSlot] as Slot).push((this.slots[k] as Slot)[0] as Value);
      }
      this.slots.length = firstSlot;
      this.places.length = firstSlot;
      this.out = this.out.slice(0, previous.end);
      this.last = this.out.charCodeAt(previous.end - 1);
      this.space = false;
    } else frame.previous = element;
  }

  private alike(a: Element, b: Element): boolean {
    const { slots } = this;
    const count = b.lastSlot - b.firstSlot;
    if (count === 0 || a.lastSlot - a.firstSlot !== count || b.end - b.start !== a.end - a.start)
      return false;
    // exactly the comma between them, and all slots of `a` filled evenly
    if (b.start !== a.end + 1 || b.firstSlot !== a.lastSlot) return false;
    const filled = (slots[a.firstSlot] as Slot).length;
    for (let k = 0; k < count; k++) {
      if ((slots[a.firstSlot + k] as Slot).length !== filled) return false;
      if ((slots[b.firstSlot + k] as Slot).length !== 1) return false;
    }
    return count === 1 && b.end - b.start === 1
      ? true
      : this.out.slice(a.start, a.end) === this.out.slice(b.start, b.end);
  }
}

/** A whole statement of this shape, with the first value in each slot: what the parser gets to see. */
export function representative(scan: Scan): { sql: string; valueStarts: number[] } {
  let sql = '';
  let from = 0;
  const valueStarts: number[] = [];
  scan.slots.forEach((slot, k) => {
    const place = scan.places[k] as number;
    const value = slot[0] as Value;
    sql += scan.shape.slice(from, place);
    valueStarts.push(sql.length);
    sql += scan.sql.slice(value.start, value.end);
    from = place + 1;
  });
  return { sql: sql + scan.shape.slice(from), valueStarts };
}
