import { describe, test } from 'vitest';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { catalogueOf, rowsOnDisk } from '../support/catalogue.ts';
import { failureOf, type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';
import type { Fixture } from './fixtures/fixture.ts';
import { fixtures } from './fixtures/index.ts';
import { Writer } from './fixtures/writer.ts';

/**
 * Awkward schemas, as data: see test/db/fixtures. Of each, doctor says the truth: it migrates under a writer and everything
 * bound to it is as it was, or it is refused by the object's name and nothing is touched.
 */
async function withFixture(
  fixture: Fixture,
  body: (db: MigrationDatabase, role: string) => Promise<void>,
): Promise<void> {
  const db = await migrationDatabase();
  const role = `fixture_${db.name}`;
  const usesRole = /\{role\}/.test(JSON.stringify(fixture));
  if (usesRole) await db.pool.query(`create role ${role}`);
  try {
    await db.pool.query(fixture.setup.replaceAll('{role}', role));
    await body(db, role);
  } finally {
    if (usesRole) await db.pool.query(`drop owned by ${role} cascade; drop role ${role}`);
    await db.pool.end();
  }
}

/** Lines about T before the swap, and about the overlay after it. */
const aboutTarget = /\bpublic\.t(_\w+)?\b|\bt_pkey|\bt_\w+_not_null/;
const aboutOverlay = /\bpublic\.t\b|^comment: .* foreshadow\./;
const always: readonly (readonly [RegExp, string])[] = [
  [/\bs_pkey\b/g, 't_pkey'],
  [/\bs_(\w+)_not_null\b/g, 't_$1_not_null'],
  [/^(column: public\.(?:s|t_pkey) #\d+ id) integer /, '$1 bigint '],
];

/** Rights that only say what an owner may anyway. */
const normal = (lines: readonly string[]) =>
  lines.map((line) => line.replace(/ acl \{(\w+)=arwdDxtm\/\1\} /, ' acl  ')).sort();

function expectedLines(before: readonly string[], { changes = [] }: Fixture): string[] {
  return before
    .filter((line) => !aboutTarget.test(line))
    .map((line) => [...always, ...changes].reduce((text, [from, to]) => text.replace(from, to), line))
    .filter((line) => line !== '')
    .sort();
}

const migrating = fixtures.filter(({ refused }) => !refused);
const refused = fixtures.filter((fixture) => fixture.refused);

describe.concurrent('migrates under a writer, with all that is bound to it', () => {
  test.for(migrating)('$name', async (fixture, { expect }) => {
    await withFixture(fixture, async (db, role) => {
      const file = migrationOf(fixture.file);
      const before = await catalogueOf(db.pool, 'foreshadow');
      const { error, checks } = await preflight(db.ctx.pool, file);
      expect(error?.message ?? null).toBeNull();
      if (fixture.says) expect(checks.map(({ message }) => message).join('\n')).toMatch(fixture.says);
      expect(await catalogueOf(db.pool, 'foreshadow')).toEqual(before);

      const writer = new Writer();
      await writer.start(db, fixture);
      const status = await db.run(file).finally(() => writer.stop());
      expect(status).toMatchObject({ status: 'COMPLETED' });
      expect(writer.failures).toEqual([]);
      expect(writer.written).toBeGreaterThan(20);
      expect([...(await writer.read(db))].sort()).toEqual([...writer.rows].sort());

      const after = (await catalogueOf(db.pool, 'foreshadow')).filter((line) => !aboutOverlay.test(line));
      expect(normal(after)).toEqual(normal(expectedLines(before, fixture)));
      const client = await db.client();
      for (const { sql, gives } of fixture.asks ?? []) {
        const { rows } = await client.query(sql.replaceAll('{role}', role));
        expect([sql, rows.map((row) => Object.values(row)[0])]).toEqual([sql, gives]);
      }
      await client.end();
    });
  });
});

describe.concurrent('is refused by name, and nothing is touched', () => {
  test.for(refused)('$name', async (fixture, { expect }) => {
    await withFixture(fixture, async (db) => {
      const look = async () => [await catalogueOf(db.pool), await rowsOnDisk(db.pool, 's')];
      const file = migrationOf(fixture.file);
      const before = await look();
      const { checks } = await preflight(db.ctx.pool, file);
      const said = checks.filter(({ status }) => status === 'refuse').map(({ message }) => message);
      expect(said.join('\n')).toMatch(fixture.refused as RegExp);
      const error = await failureOf(db.run(file));
      expect([error.message, ...((error.detail?.also as string[]) ?? [])]).toEqual(said);
      expect(error).toMatchObject({ exitCode: 3, hint: expect.stringMatching(/\w/) });
      expect(await look()).toEqual(before);
    });
  });
});
