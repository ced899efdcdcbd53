import { readdir, readFile } from 'node:fs/promises';
import type { Pool, PoolClient } from 'pg';
import { ForeshadowError } from '../core/errors.ts';
import { transaction } from './tx.ts';

const folder = new URL('./sql/', import.meta.url);

/** Our numbered schema files: `001_name.sql` → version 1. */
async function schemaFiles(): Promise<{ version: number; file: string }[]> {
  const files = (await readdir(folder)).filter((file) => /^\d{3}_.*\.sql$/.test(file)).sort();
  return files.map((file) => ({ version: Number(file.slice(0, 3)), file }));
}

/** The version of our schema in this database; 0 when there is none. */
export async function schemaVersion(db: Pool | PoolClient): Promise<number> {
  const { rows } = await db.query<{ present: boolean }>(
    "select to_regclass('foreshadow.schema_version') is not null as present",
  );
  if (!rows[0]?.present) return 0;
  const version = await db.query<{ version: number }>(
    'select coalesce(max(version), 0) as version from foreshadow.schema_version',
  );
  return version.rows[0]?.version ?? 0;
}

/** @throws ForeshadowError NOT_INITIALISED */
export async function requireSchema(pool: Pool): Promise<void> {
  const wanted = (await schemaFiles()).at(-1)?.version ?? 0;
  const found = await schemaVersion(pool);
  if (found < wanted) {
    throw new ForeshadowError(
      'NOT_INITIALISED',
      `our schema is at version ${found} here, and ${wanted} is needed`,
    );
  }
}

/** Applies the schema files that are missing, all in one transaction, once however many processes try. */
export async function initSchema(pool: Pool): Promise<{ from: number; to: number }> {
  const files = await schemaFiles();
  return transaction(pool, async (client) => {
    await client.query("select pg_advisory_xact_lock(hashtextextended('foreshadow.init', 0))");
    const from = await schemaVersion(client);
    for (const { version, file } of files) {
      if (version <= from) continue;
      await client.query(await readFile(new URL(file, folder), 'utf8'));
      await client.query('insert into foreshadow.schema_version(version) values ($1)', [version]);
    }
    return { from, to: files.at(-1)?.version ?? 0 };
  });
}

/** The SQL that {@link initSchema} would run, for --dry-run. */
export async function schemaSql(): Promise<string> {
  const texts = await Promise.all(
    (await schemaFiles()).map(({ file }) => readFile(new URL(file, folder), 'utf8')),
  );
  return texts.join('\n');
}
