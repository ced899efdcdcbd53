import { beforeAll, describe, test } from 'vitest';
import { describeOlder, olderServer } from '../support/older-server.ts';
import { fixtures } from './fixtures/index.ts';
import { expectMigrates, expectRefused } from './fixtures/run.ts';

/** One of each kind: what the catalogue says of it has changed between versions. */
const some = fixtures.filter(({ older }) => older);

describeOlder('on an older PostgreSQL', () => {
  let server: { url: string };
  beforeAll(async () => {
    server = await olderServer();
  });
  describe('awkward schemas', () => {
    test.for(some)('$name', (fixture, { expect }) =>
      (fixture.refused ? expectRefused : expectMigrates)(fixture, { expect, on: server }));
  });
});
