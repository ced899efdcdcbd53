/**
 * Reads the detail of an `execute` line: `Parameters: $1 = '42', $2 = NULL` (`parameters:` before PostgreSQL 16,
 * other words under another `lc_messages`). Quotes inside a value are doubled; newlines are themselves.
 *
 * @returns one text or null per parameter; null when the detail is not a whole list of parameters
 */
export function parseParameters(detail: string): (string | null)[] | null {
  const colon = detail.indexOf(': $1 = ');
  if (colon < 1 || colon > 40 || !/^[^:$']*$/.test(detail.slice(0, colon))) return null;
  const values: (string | null)[] = [];
  let i = colon + 2;
  for (;;) {
    const name = `$${values.length + 1} = `;
    if (!detail.startsWith(name, i)) return null;
    i += name.length;
    if (detail.startsWith('NULL', i)) {
      values.push(null);
      i += 4;
    } else {
      const end = closingQuote(detail, i);
      if (end < 0) return null;
      const raw = detail.slice(i + 1, end);
      values.push(raw.includes("'") ? raw.replaceAll("''", "'") : raw);
      i = end + 1;
    }
    if (i === detail.length) return values;
    if (!detail.startsWith(', ', i)) return null;
    i += 2;
  }
}

/** Index of the quote that ends the value starting at `open`, or -1. */
function closingQuote(text: string, open: number): number {
  if (text[open] !== "'") return -1;
  let i = open + 1;
  for (;;) {
    i = text.indexOf("'", i);
    if (i < 0 || text[i + 1] !== "'") return i;
    i += 2;
  }
}

/**
 * Positions of the values that `log_parameter_max_length` has cut, or may have.
 *
 * The server cuts a value of more than `maxLength` bytes to at most that many, never inside a character, and ends it in
 * `...`. So a cut value has `maxLength` bytes or more; one that was not cut has `maxLength` or fewer. A whole value of
 * exactly that length which really ends in `...` is taken for a cut one: better no key than a wrong one.
 *
 * @param maxLength the setting, in bytes; -1: nothing is cut; undefined: not known, so that every value which ends in
 *   `...` may be cut
 */
export function truncatedAmong(
  values: readonly (string | null)[],
  maxLength: number | undefined,
): number[] | null {
  if (maxLength === -1) return null;
  let found: number[] | null = null;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!value?.endsWith('...')) continue;
    if (maxLength === undefined || Buffer.byteLength(value) >= maxLength) (found ??= []).push(i);
  }
  return found;
}
