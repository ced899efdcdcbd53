import { afterAll, expect } from 'vitest';
import { dropTestDatabases } from './database.ts';
import { openResources } from './resources.ts';

// Registered before the file's own hooks, so it runs after all of them.
afterAll(async () => {
  const leaks = [...(await dropTestDatabases()), ...(await openResources())];
  expect(leaks, 'left open at the end of this test file').toEqual([]);
});
