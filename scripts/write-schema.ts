import { writeFile } from 'node:fs/promises';
import { publishedSchema } from '../src/config/published-schema.ts';

/** Publishes the JSON Schema of migration files. A test holds the file to the code. */
await writeFile(
  new URL('../docs/migration.schema.json', import.meta.url),
  `${JSON.stringify(publishedSchema(), null, 2)}\n`,
);
