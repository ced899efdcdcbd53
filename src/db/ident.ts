import { escapeIdentifier, escapeLiteral } from 'pg';
import { ForeshadowError } from '../core/errors.ts';

/** The only way an identifier reaches SQL text. */
export function ident(...parts: readonly string[]): string {
  return parts.map((part) => escapeIdentifier(part)).join('.');
}

/** For the few places where PostgreSQL takes no bind parameter (DDL, view and function bodies). */
export function literal(value: string): string {
  return escapeLiteral(value);
}

/**
 * Splits `schema.table`, either part quoted or not, the way PostgreSQL reads it; the schema defaults to public.
 * @throws ForeshadowError BAD_MIGRATION_FILE
 */
export function parseQualifiedName(text: string): { schema: string; name: string } {
  const part = '"(?:[^"]|"")+"|[\\p{L}_][\\p{L}\\p{N}_$]*';
  const match = new RegExp(`^(?:(${part})\\.)?(${part})$`, 'u').exec(text.trim());
  if (!match)
    throw new ForeshadowError('BAD_MIGRATION_FILE', `not a table name: ${text} (write schema.table)`);
  const plain = (raw: string) =>
    raw.startsWith('"') ? raw.slice(1, -1).replaceAll('""', '"') : raw.toLowerCase();
  return { schema: match[1] ? plain(match[1]) : 'public', name: plain(match[2] as string) };
}
