/**
 * Splits one line of CSV (RFC 4180, without line breaks inside fields).
 * @returns the fields, or null when a quote is unmatched or stands inside a bare field
 */
export function splitLine(line: string): string[] | null {
  const fields: string[] = [];
  for (let at = 0; ; ) {
    if (line[at] === '"') {
      let field = '';
      for (;;) {
        const close = line.indexOf('"', at + 1);
        if (close < 0) return null;
        field += line.slice(at + 1, close);
        at = close + 1;
        if (line[at] !== '"') break;
        field += '"';
      }
      if (at < line.length && line[at] !== ',') return null;
      fields.push(field);
    } else {
      const comma = line.indexOf(',', at);
      const field = line.slice(at, comma < 0 ? undefined : comma);
      if (field.includes('"')) return null;
      fields.push(field);
      at = comma < 0 ? line.length : comma;
    }
    if (at >= line.length) return fields;
    at++;
    if (at === line.length) return [...fields, ''];
  }
}
