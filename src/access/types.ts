const integers = new Set([
  'smallint',
  'int2',
  'integer',
  'int',
  'int4',
  'serial',
  'bigint',
  'int8',
  'bigserial',
]);
const texts = new Set(['text', 'character varying', 'varchar']);

/** The name of a type as format_type prints it, without its modifiers. */
export function bareType(type: string): string {
  return type
    .replace(/\(.*?\)/, '')
    .trim()
    .toLowerCase();
}

export function isIntegerType(type: string): boolean {
  return integers.has(bareType(type));
}

export function isTextType(type: string): boolean {
  return texts.has(bareType(type));
}
