import type { Value } from './shape.ts';

const simpleEscapes: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/** The text that a literal stands for, or undefined for the odd ones. A number keeps its digits and its sign. */
export function decodeLiteral(sql: string, value: Value): string | undefined {
  const raw = sql.slice(value.start, value.end);
  switch (value.kind) {
    case 'number':
      return raw;
    case 'string':
      return raw.slice(raw.indexOf("'") + 1, -1).replaceAll("''", "'");
    case 'escaped':
      return unescaped(raw.slice(2, -1));
    case 'dollar': {
      const tag = raw.indexOf('$', 1) + 1;
      return raw.slice(tag, -tag);
    }
    default:
      return undefined;
  }
}

/** The inside of E'…'. Octal and \x escapes are bytes of UTF-8; only those below 0x80 are understood. */
function unescaped(text: string): string | undefined {
  let ok = true;
  const result = text.replace(
    /''|\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([\s\S]))/g,
    (match, hex?: string, octal?: string, u4?: string, u8?: string, other?: string) => {
      if (match === "''") return "'";
      if (other !== undefined) return simpleEscapes[other] ?? other;
      const code = Number.parseInt(hex ?? octal ?? u4 ?? u8 ?? '', octal === undefined ? 16 : 8);
      const isByte = hex !== undefined || octal !== undefined;
      if (code === 0 || code > 0x10ffff || (isByte && code > 0x7f)) ok = false;
      else return String.fromCodePoint(code);
      return '';
    },
  );
  return ok ? result : undefined;
}

/**
 * The elements of a one-dimensional array in PostgreSQL's text form: `{1,NULL,"a \"b\""}`.
 * @returns null for an element NULL; undefined when the text is not such an array
 */
export function parseArrayText(text: string): (string | null)[] | undefined {
  const body = /^\s*\{([\s\S]*)\}\s*$/.exec(text)?.[1];
  if (body === undefined) return undefined;
  if (body.trim() === '') return [];
  const elements: (string | null)[] = [];
  const element = /\s*(?:"((?:[^"\\]|\\[\s\S])*)"|((?:[^",{}\\]|\\[\s\S])+?))\s*(,|$)/y;
  let i = 0;
  for (;;) {
    element.lastIndex = i;
    const match = element.exec(body);
    if (!match) return undefined;
    const [, quoted, plain] = match;
    if (quoted !== undefined) elements.push(quoted.replace(/\\([\s\S])/g, '$1'));
    else if (/^null$/i.test(plain as string)) elements.push(null);
    else elements.push((plain as string).replace(/\\([\s\S])/g, '$1'));
    i = element.lastIndex;
    if (match[3] === '') return elements;
  }
}
