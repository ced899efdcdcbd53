/**
 * Reads the detail of an `execute` line: `Parameters: $1 = '42', $2 = NULL` (`parameters:` before PostgreSQL 16,
 * other words under another `lc_messages`). Quotes inside a value are doubled; newlines are themselves.
 *
 * A value cut by `log_parameter_max_length` ends in `...` inside its quotes, so it cannot be told from one that
 * really does; it comes back as it stands, and whoever needs the whole value must doubt such an ending.
 *
 * @returns one text or null per parameter; null when the detail is not a whole list of parameters
 */
export function parseParameters(detail: string): (string | null)[] | null {
  const intro = /^[^:$']{1,40}: (?=\$1 = )/.exec(detail);
  if (!intro) return null;
  const values: (string | null)[] = [];
  let i = intro[0].length;
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
