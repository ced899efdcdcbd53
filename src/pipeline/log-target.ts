import type { Pool } from 'pg';
import { columnsAndKey, surroundingsOf } from '../access/catalogue.queries.ts';
import type { AccessResolverOptions } from '../access/index.ts';
import { ForeshadowError } from '../core/errors.ts';
import { parseQualifiedName } from '../db/ident.ts';
import type { Migration } from '../migration/status.store.ts';

/**
 * A table and every way in which statements may speak of it, from the catalogue.
 * @param table schema.table
 * @param key its key columns; the primary key when absent
 * @throws ForeshadowError SOURCE_MISSING, NO_KEY
 */
export async function targetOf(
  pool: Pool,
  table: string,
  key?: readonly string[],
): Promise<AccessResolverOptions> {
  const { schema, name } = parseQualifiedName(table);
  const found = await columnsAndKey(pool, schema, name, key);
  if (found.key.length === 0) throw new ForeshadowError('NO_KEY', `${schema}.${name} has no primary key`);
  return { schema, table: name, ...found, ...(await surroundingsOf(pool, schema, name)) };
}

/** The source of a migration: by its plan, for at the write cutover another table takes its name. */
export async function targetOfMigration(
  pool: Pool,
  { definition, plan }: Pick<Migration, 'definition' | 'plan'>,
): Promise<AccessResolverOptions> {
  const { schema, name } = parseQualifiedName(definition.source);
  const columns = plan.sourceColumns.map((column) => column.name);
  return { schema, table: name, key: plan.sourceKey, columns, ...(await surroundingsOf(pool, schema, name)) };
}
