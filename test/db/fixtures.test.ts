import { describe, test } from 'vitest';
import { fixtures } from './fixtures/index.ts';
import { expectMigrates, expectRefused } from './fixtures/run.ts';

/**
 * Awkward schemas, as data: see test/db/fixtures. Of each, doctor says the truth: it migrates under a writer and everything
 * bound to it is as it was, or it is refused by the object's name and nothing is touched.
 */
const migrating = fixtures.filter(({ refused }) => !refused);
const refused = fixtures.filter((fixture) => fixture.refused);

describe.concurrent('migrates under a writer, with all that is bound to it', () => {
  test.for(migrating)('$name', (fixture, { expect }) => expectMigrates(fixture, { expect }));
});

describe.concurrent('is refused by name, and nothing is touched', () => {
  test.for(refused)('$name', (fixture, { expect }) => expectRefused(fixture, { expect }));
});
