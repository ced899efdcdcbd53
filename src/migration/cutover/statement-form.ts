/**
 * What may stand in a statement and hold a value, or look as if it did: comments, quoted names, parameters, strings of all
 * three kinds (the text may be cut off within one), numbers.
 */
const pieces =
  /--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|"(?:[^"]|"")*(?:"|$)|\$\d+|\$([\p{L}_][\p{L}\p{N}_]*)?\$[\s\S]*?(?:\$\1\$|$)|\be'(?:[^'\\]|\\[\s\S]|'')*(?:'|\\?$)|'(?:[^']|'')*(?:'|$)|\b\d[\w.]*/giu;

/** The form of a statement, without the values in it and without comments: at most 80 characters. */
export const statementForm = (query: string): string =>
  query
    .replace(pieces, (piece) => {
      if (piece.startsWith('--') || piece.startsWith('/*')) return ' ';
      return piece.startsWith('"') || /^\$\d/.test(piece) ? piece : '?';
    })
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 80);
